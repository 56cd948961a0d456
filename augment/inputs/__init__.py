"""Where pictures come from: folders, tars and manifests, local or remote, and how a picture is decoded."""
