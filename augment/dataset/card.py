"""The dataset card: `README.md` of an output folder, in the form that dataset hubs read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from augment.report.outcome import decibels

# The part that dataset hubs read: the splits and the tags.
_HEAD = """---
configs:
- config_name: default
  data_files:
  - split: train
    path: shards/train-{generation}-*.tar
tags:
- image-classification
- synthetic
- webdataset
---"""


def dataset_card(manifest: Mapping[str, Any]) -> str:
    """Return the dataset card, Markdown with a YAML head, made from the manifest alone."""
    sources = manifest["settings"].get("input.count", "?")
    classes = "\n".join(
        f"| {_cell(name)} | {c['accepted']} | {c['rejected']} | {c['failed']} |"
        for name, c in manifest["classes"].items()
    )
    reasons = "\n".join(f"| {_cell(kind)} | {count} |" for kind, count in manifest["reasons"].items()) or "| none | 0 |"
    return f"""{_HEAD.format(generation=manifest["generation"])}
# Edited images

{manifest["accepted"]} images made from {sources} real ones: each source was inverted with a
diffusion model and regenerated under other prompts that keep its class. They are synthetic; mix them with the real
images, never test on them.

| planned | accepted | rejected | failed |
|---|---|---|---|
| {manifest["planned"]} | {manifest["accepted"]} | {manifest["rejected"]} | {manifest["failed"]} |

Mean reconstruction PSNR {decibels(manifest["mean_reconstruction_psnr"])}; the autoencoder alone, which is the bound:
{decibels(manifest["mean_vae_psnr"])}.

## Files

- `shards/train-*.tar`: accepted edits as WebDataset: `<key>.png`, `.cls` (label), `.txt` (target prompt), `.json`.
- `rejected/rejected-*.tar`: what the filters dropped, with the reason in the `.json`.
- `index.parquet`: one row for every planned edit, with all scores. `manifest.json`: the files of this dataset with
  their sha256, and counts.

## Classes

| class | accepted | rejected | failed |
|---|---|---|---|
{classes}

## Dropped, by reason

| reason | edits |
|---|---|
{reasons}

## Thresholds

| key | value |
|---|---|
{_settings_rows(manifest["filters"])}

## Settings that determine the pixels

| key | value |
|---|---|
{_settings_rows(manifest["settings"])}
"""


def _settings_rows(settings: Mapping[str, Any]) -> str:
    return "\n".join(f"| `{key}` | `{_cell(value)}` |" for key, value in sorted(settings.items()))


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
