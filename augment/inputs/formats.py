"""Kinds of files: the image formats that are read, known by their first bytes, and what else lies in datasets.

A picture is decoded by what it is, whatever its name says. A format is read if Pillow decodes it by itself, without
another program or another file (EPS calls Ghostscript, WMF the system), and if its first bytes tell it from every other
kind of file. That is also why only the one plugin that the bytes ask for ever sees them.
"""

from __future__ import annotations

import re
import struct

HEAD_BYTES = 64  # of a file suffice for `image_format`; a TGA file needs to be whole
# How a dataset's left-out files are counted, besides the kinds in `_KINDS`.
HIDDEN, UNREAD, EMPTY, UNKNOWN = "hidden", "image format that is not read", "empty", "unknown"
SPARE = "backup or unfinished"  # `0.jpg~`, `0.jpg.bak`, `0.jpg.part`: mostly of a picture that is there too

# Pillow's name -> extensions, and a pattern of the first bytes.
_FORMATS: dict[str, tuple[str, bytes]] = {
    "PNG": ("png apng", rb"\x89PNG\r\n\x1a\n"),
    "JPEG": ("jpg jpeg jpe jfif jif mpo", rb"\xff\xd8\xff"),  # an MPO file opens as the JPEG that it begins with
    "WEBP": ("webp", rb"RIFF....WEBP"),
    "AVIF": ("avif avifs", rb"....ftyp(?:avi[fs]|m[is]f1.{4}(?:.{4}){0,10}?avi[fs])"),
    "JPEG2000": ("jp2 j2k j2c jpc jpf jpx", rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n"),
    "TIFF": ("tif tiff", rb"II[*+]\0|MM\0[*+]"),
    "GIF": ("gif", rb"GIF8[79]a"),
    "BMP": ("bmp", rb"BM.{12}[\x0c-\x80]\0\0\0"),
    "PPM": ("ppm pgm pbm pnm pfm", rb"P[1-6fy][\s#]"),
    "TGA": ("tga icb vda vst", rb"(?!)"),  # has no signature: see `_is_tga`
    "ICO": ("ico", rb"\0\0\x01\0[^\0]"),
    "CUR": ("cur", rb"\0\0\x02\0[^\0]"),
    "ICNS": ("icns", rb"icns"),
    "DDS": ("dds", rb"DDS "),
    "PSD": ("psd", rb"8BPS"),
    "QOI": ("qoi", rb"qoif"),
    "SGI": ("sgi rgb rgba bw", rb"\x01\xda[\0\x01][\x01\x02]"),
    "SUN": ("ras", rb"\x59\xa6\x6a\x95"),
    "PCX": ("pcx", rb"\x0a[\0\x02\x03\x05][\0\x01][\x01\x02\x04\x08]"),
    "DCX": ("dcx", rb"\xb1\x68\xde\x3a"),
    "PIXAR": ("pxr", rb"\x80\xe8\0\0"),
    "MSP": ("msp", rb"DanM|LinS"),
    "FTEX": ("ftc ftu", rb"FTEX"),
    "BLP": ("blp", rb"BLP[12]"),
    "XPM": ("xpm", rb"/\* XPM \*/"),
    "XBM": ("xbm", rb"\s*#define[ \t]+\S*_width[ \t]+\d"),
}
FORMATS = tuple(_FORMATS)
IMAGE_EXTENSIONS = tuple(extension for names, _ in _FORMATS.values() for extension in names.split())
_SIGNATURES = re.compile(b"|".join(b"(?P<%s>%s)" % (n.encode(), p) for n, (_, p) in _FORMATS.items()), re.DOTALL)
# Cameras' raw files begin as TIFF files do, and hold a thumbnail first: their names must be believed.
_KINDS = {
    "text": "txt text md rst json jsonl geojson xml csv tsv yaml yml html htm log ini cfg conf toml tex bib srt vtt "
    "lst py ipynb js css sh c h cpp hpp java names labels list cls caption license",
    "data": "npy npz pt pth ckpt onnx safetensors pkl pickle mat h5 hdf5 parquet arrow feather tfrecord tfrecords lmdb "
    "mdb db sqlite sqlite3 idx bin",
    "video": "mp4 avi mov mkv webm mpg mpeg m4v wmv flv 3gp",
    "sound": "wav mp3 flac ogg m4a aac opus",
    "archive": "zip tar gz tgz bz2 xz 7z rar zst",
    "document": "pdf doc docx ppt pptx xls xlsx odt ods",
    SPARE: "bak orig part crdownload tmp",
    UNREAD: "svg svgz eps ps ai wmf emf jxl jxr exr hdr fit fits dcm nii cr2 cr3 nef nrw arw srf sr2 dng orf rw2 raf "
    "pef 3fr iiq x3f",
}
_KIND_OF = {extension: kind for kind, extensions in _KINDS.items() for extension in extensions.split()}
_KIND_OF |= dict.fromkeys(IMAGE_EXTENSIONS, "image")
_SYSTEM = {"thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r", "$recycle.bin", "__macosx"}
_TGA_FOOTER = b"TRUEVISION-XFILE.\0"
_TGA_DEPTHS = {1: (8,), 2: (15, 16, 24, 32), 3: (8, 16)}  # by kind: palette, colours, grey


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is not shown: its name begins with a dot, or is one that systems leave behind."""
    return name.startswith(".") or name.lower() in _SYSTEM


def kind_of_name(name: str) -> str:
    """Return `image`, the kind of another file such as `text`, or "" if only the content can tell."""
    return SPARE if name.endswith("~") else _KIND_OF.get(extension_of(name), "")


def extension_of(name: str) -> str:
    """Return the last extension of a file's name in lower case, without its dot; "" if it has none."""
    stem, dot, extension = name.rpartition("/")[2].rpartition(".")
    return extension.lower() if dot and stem else ""


def kind_of_head(head: bytes) -> str:
    """Return `image` or another kind of file, by its first `HEAD_BYTES` bytes."""
    if image_format(head):
        return "image"
    return UNREAD if unread_format(head) else UNKNOWN if head else EMPTY


def image_format(data: bytes) -> str | None:
    """Return Pillow's name of the format of an image file; None if it is of none that is read.

    Args:
        data: the file's content, or its first `HEAD_BYTES` bytes.
    """
    if match := _SIGNATURES.match(data):
        return match.lastgroup
    return "TGA" if _is_tga(data) else None


def unread_format(data: bytes) -> str:
    """Return what an image that is not read is called, by its first bytes; "" if it is none of those known."""
    if re.match(rb"....ftyp(hei|hev|mif1|msf1)", data, re.DOTALL):
        return "HEIC"
    if re.match(rb"\xff\x0a|\0\0\0\x0cJXL ", data):
        return "JPEG XL"
    if re.match(rb"%!PS|\xc5\xd0\xd3\xc6", data):
        return "PostScript"
    return "SVG" if re.match(rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<svg\b", data, re.DOTALL) else ""


def _is_tga(data: bytes) -> bool:
    """Return whether a whole file is TGA: it ends in the mark of that format, or is as long as its header says."""
    if len(data) < 18:
        return False
    skipped, has_map, kind, _, map_length, map_depth, _, _, width, height, depth, _ = struct.unpack(
        "<BBBHHBHHHHBB", data[:18]
    )
    packed, base = kind & 8, kind & ~8
    if not (width and height and has_map in (0, 1) and depth in _TGA_DEPTHS.get(base, ())):
        return False
    if data.endswith(_TGA_FOOTER):
        return True
    if (base == 1) != bool(has_map) or (has_map and map_depth not in (15, 16, 24, 32)):
        return False
    begin = 18 + skipped + has_map * map_length * ((map_depth + 7) // 8)
    pixels = width * height * ((depth + 7) // 8)
    return begin < len(data) <= begin + pixels * 2 if packed else len(data) == begin + pixels
