"""A mask as a DICOM Segmentation, which refers to the DICOM file of its radiograph and repeats patient and study."""

import importlib.util
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pydicom
from jaxtyping import Bool
from pydicom.sr.codedict import codes

from cxr_jax import provenance
from tfds_builders.radiograph_files import HEAD, Radiograph, is_dicom

if TYPE_CHECKING:
    import highdicom

NAME = "cxr_jax"
TYPES = {"lungs": codes.SCT.Lung, "heart": codes.SCT.Heart, "clavicles": codes.SCT.Clavicle}
REQUIRED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)
COPIED = (
    *("SpecificCharacterSet", "Modality", "Rows", "Columns", "StudyDescription", "PatientAge"),
    *("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence", "IssuerOfPatientID"),
    *("ClinicalTrialSubjectID", "ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "FrameOfReferenceUID"),
    *("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
    *REQUIRED,
    *MAY_BE_EMPTY,
)


def available() -> bool:
    """Tell whether highdicom, which writes them, is installed; it is no requirement of the rest."""
    return importlib.util.find_spec("highdicom") is not None


def encode(mask: Bool[np.ndarray, "h w"], organ: str, radiograph: Radiograph, path: Path, weights: str) -> bytes:
    """Return a binary segmentation of one segment, of the DICOM file at `path`, by a model with such `weights`.

    Raises `ValueError` where that lacks what a segmentation refers to, and what pydicom and highdicom raise for odd
    files, which is of many kinds.
    """
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, on each liberty that a file takes with the standard
        _segmentation(mask, organ, _source(path), weights).save_as(buffer)
    return buffer.getvalue()


def _source(path: Path) -> pydicom.Dataset:
    """Return what a segmentation repeats of its radiograph, as UTF-8; what may be empty is there, filled or not."""
    with path.open("rb") as file:
        unmarked = is_dicom(path.name, file.read(HEAD))
    try:
        source = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(COPIED), force=unmarked)
    except pydicom.errors.InvalidDicomError as error:
        raise ValueError("expected a DICOM file, which a segmentation refers to; this is none") from error
    if missing := [name for name in REQUIRED if not source.get(name)]:
        raise ValueError(f"expected a DICOM file with {', '.join(REQUIRED)}, found none of {', '.join(missing)}")
    for name in MAY_BE_EMPTY:
        source.setdefault(name, "")
    source.Modality = source.get("Modality") or "OT"  # as the reader takes a file that does not say it
    source.decode()
    source.SpecificCharacterSet = "ISO_IR 192"  # UTF-8; of the others, highdicom refuses many that files have
    return source


def _segmentation(
    mask: Bool[np.ndarray, "h w"], organ: str, source: pydicom.Dataset, weights: str
) -> "highdicom.seg.Segmentation":
    import highdicom  # takes a second, and may not be there

    version = provenance.here()["commit"]
    head, *marks = version.split("-")  # -dirty
    model = f"weights {weights}, code {'-'.join([head[:12], *marks])}"  # at most 64 letters
    algorithm = highdicom.AlgorithmIdentificationSequence(NAME, codes.DCM.ArtificialIntelligence, model)
    segment = highdicom.seg.SegmentDescription(
        1, organ, codes.SCT.AnatomicalStructure, TYPES[organ], "AUTOMATIC", algorithm
    )
    return highdicom.seg.Segmentation(
        [source],
        mask[None].astype(np.uint8),
        "BINARY",
        [segment],
        series_instance_uid=highdicom.UID(),
        series_number=1,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer=NAME,
        manufacturer_model_name=NAME,
        software_versions=version,
        device_serial_number="-",
        omit_empty_frames=False,  # an organ that was not found is a blank frame
    )
