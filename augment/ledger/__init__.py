"""What is planned and what is done: plan, commit markers, lease and events, so that nothing is lost or made twice."""
