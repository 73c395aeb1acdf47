"""Where official downloads lie that a person has fetched."""

from pathlib import Path

import tensorflow_datasets as tfds


def manual_folder(dl_manager: tfds.download.DownloadManager) -> Path:
    """Return the manual directory; raise `FileNotFoundError` with the instructions where it is not there."""
    try:
        return Path(dl_manager.manual_dir)
    except (AssertionError, OSError) as error:
        raise FileNotFoundError(str(error)) from error
