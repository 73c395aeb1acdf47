"""Small radiographs as files of every kind."""

import io

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless, generate_uid

RAMP = np.add.outer(np.arange(12), np.arange(0, 200, 8)).astype(np.uint8)  # 12x25, rising to the lower right
DEEP = RAMP.astype(np.uint16) * 300


def picture(image: np.ndarray, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


def dicom(
    pixels: np.ndarray = DEEP, syntax: str = ExplicitVRLittleEndian, encoded: bytes | None = None, **tags
) -> bytes:
    """Return a DICOM file of grey pixels, with further tags; a tag of None is left out."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = syntax if encoded is not None else ExplicitVRLittleEndian
    dataset = pydicom.Dataset()
    dataset.file_meta = meta
    bits = 8 * pixels.dtype.itemsize
    values = {
        "SOPClassUID": meta.MediaStorageSOPClassUID,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "Modality": "CR",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": 0,
    }
    for name, value in (values | tags).items():
        if value is not None:
            setattr(dataset, name, value)
    dataset.PixelData = pixels.tobytes() if encoded is None else encapsulate([encoded])
    if encoded is None and syntax == RLELossless:
        dataset.compress(RLELossless)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def deflated(content: bytes) -> bytes:
    """Return an uncompressed DICOM file in the deflated syntax."""
    dataset = pydicom.dcmread(io.BytesIO(content))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def mutated(content: bytes, generator: np.random.Generator) -> bytes:
    """Return a file with some bytes changed, taken out, doubled or cut off."""
    data = bytearray(content)
    for _ in range(generator.integers(1, 6)):
        at = int(generator.integers(len(data)))
        kind = generator.integers(4)
        if kind == 0:
            data[at] = int(generator.integers(256))
        elif kind == 1:
            data[at : at + 4] = generator.bytes(4)
        elif kind == 2:
            del data[at : at + int(generator.integers(1, 20))]
        else:
            data[at:at] = data[at : at + int(generator.integers(1, 20))]
        if len(data) < 2:
            break
    return bytes(data[: generator.integers(1, len(data) + 1)] if generator.random() < 0.2 else data)
