"""The section `llm` of a prompt config: which language model varies prompts, and how it is asked."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

# They change how it is asked, not what.
_OF_THE_WAY = {"endpoint", "key_env", "timeout_s", "device"}
_OF_THE_WAY |= {"max_retries", "max_rounds", "max_tokens", "prompts_per_request"}
INSTRUCTIONS = (
    "You write prompts for a text-to-image model. For each prompt that you are given, write other prompts that show "
    "the same thing in the same surroundings, in other words and with other details. Keep the class word as it is "
    "written, name no other thing that could be taken for the subject, and write one short sentence for each."
)


class LanguageModelConfig(BaseModel):
    """A language model, behind an HTTP endpoint or in this process."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(
        min_length=1, description="what the endpoint calls it; without an endpoint a folder, or an id of the hub"
    )
    endpoint: str | None = Field(
        default=None,
        description="OpenAI-compatible, up to and with /v1, for example http://localhost:8000/v1; without one, "
        "transformers runs the model here",
    )
    key_env: str | None = Field(
        default=None,
        pattern=r"[A-Za-z_][A-Za-z0-9_]*$",
        description="environment variable that holds the endpoint's key, which is never written nor logged",
    )
    variations: int = Field(default=1, ge=1, le=20, description="prompts wanted for each prompt; images take turns")
    instructions: str = Field(default=INSTRUCTIONS, min_length=1, description="what the model is told to do")
    temperature: float = Field(default=0.8, ge=0, le=2, description="0: the likeliest words")
    max_tokens: int = Field(default=2048, gt=0, description="of one answer; a shorter one may be cut, and asked again")
    prompts_per_request: int = Field(default=20, ge=1, description="fewer after an answer that was cut")
    max_rounds: int = Field(default=3, ge=1, description="times that a prompt is asked for; then it stays as it was")
    max_retries: int = Field(default=5, ge=0, description="of one request, if the endpoint is busy or broken")
    timeout_s: float = Field(default=120, gt=0, description="for one answer")
    device: str = Field(default="cpu", description="without an endpoint: `cpu`, `cuda`, ...")

    @field_validator("endpoint")
    @classmethod
    def _is_http(cls, endpoint: str | None) -> str | None:
        if endpoint is None:
            return None
        if not endpoint.startswith(("http://", "https://")) or "@" in endpoint:
            raise ValueError("must begin with http:// or https://, and hold no password: key_env names the variable")
        return endpoint.rstrip("/")

    def identity(self) -> dict[str, Any]:
        """Return the settings that answers depend on."""
        return self.model_dump(mode="json", exclude=_OF_THE_WAY)
