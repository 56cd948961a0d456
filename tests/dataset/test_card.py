"""The tables of the dataset card, whatever the classes are called."""

from __future__ import annotations

from augment.dataset.card import dataset_card

MANIFEST = {
    "generation": "0123456789ab",
    "settings": {"input.count": 2},
    "filters": {},
    "planned": 4,
    "accepted": 3,
    "rejected": 1,
    "failed": 0,
    "reasons": {"label_probability": 1},
    "mean_reconstruction_psnr": 25.0,
    "mean_vae_psnr": 27.126,
}


def test_a_class_name_with_a_bar_stays_in_its_cell() -> None:
    counts = {"accepted": 3, "rejected": 1, "failed": 0}
    assert "\n| jar \\| pot | 3 | 1 | 0 |\n" in dataset_card(MANIFEST | {"classes": {"jar | pot": counts}})


def test_means_have_two_digits_or_are_not_known() -> None:
    manifest = MANIFEST | {"classes": {}}
    assert "PSNR 25.00 dB; the autoencoder alone, which is the bound:\n27.13 dB." in dataset_card(manifest)
    unknown = manifest | {"mean_reconstruction_psnr": None, "mean_vae_psnr": None}
    assert "PSNR -; the autoencoder alone, which is the bound:\n-." in dataset_card(unknown)
