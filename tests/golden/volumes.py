#!/usr/bin/env python3
"""Small volumes in every format, written by programs other than kanbench, and kanbench's own files
read by them.

    volumes.py                  writes golden/volumes
    volumes.py --check PROGRAM  converts some of them and reads the results; status 77 if a package
                                is missing

Voxel (x, y, z) of component c is x + 10 y + 100 z + 1000 c, of 5 x 4 x 3 voxels unless a name says
otherwise. Needs NumPy, SimpleITK, pynrrd, nibabel, vtk, netCDF4 and h5py.
"""
import pathlib
import subprocess
import sys
import tempfile

try:
    import h5py
    import netCDF4
    import nibabel
    import nrrd
    import numpy as np
    import SimpleITK as sitk
    import vtk
    from vtk.util import numpy_support
except ImportError as error:
    print(f"a package is missing: {error.name}")
    sys.exit(77)

HERE = pathlib.Path(__file__).parent / "volumes"
SHAPE = (5, 4, 3)
SPACING = (0.5, 1.5, 2.25)
ORIGIN = (-3.0, 4.5, 10.0)


def values(dtype, components=1):
    """Indexed (z, y, x), or (z, y, x, c)."""
    z, y, x = np.meshgrid(np.arange(3), np.arange(4), np.arange(5), indexing="ij")
    all_of_them = [(x + 10 * y + 100 * z + 1000 * c).astype(dtype) for c in range(components)]
    return all_of_them[0] if components == 1 else np.stack(all_of_them, axis=-1)


def write_itk(name, dtype, components=1, compressed=False):
    image = sitk.GetImageFromArray(values(dtype, components), isVector=components > 1)
    image.SetSpacing(SPACING)
    image.SetOrigin(ORIGIN)
    sitk.WriteImage(image, str(HERE / name), useCompression=compressed)


def write_itk_files():
    write_itk("itk.nrrd", "uint8")
    write_itk("itk_gzip.nrrd", "int16", compressed=True)
    write_itk("itk_vector.nrrd", "float32", components=3)
    write_itk("itk_short.nhdr", "uint16")
    write_itk("itk.mha", "int32")
    write_itk("itk_zlib.mha", "float64", compressed=True)
    write_itk("itk_vector.mha", "int16", components=2)
    write_itk("itk_detached.mhd", "float32")
    write_itk("itk.nii", "int16")
    write_itk("itk.nii.gz", "float32")


def write_pynrrd_files():
    header = {
        "endian": "big",
        "encoding": "raw",
        "space dimension": 3,
        "space directions": np.array([[0, -0.5, 0], [1.5, 0, 0], [0, 0, 2.25]]),
        "space origin": np.array(ORIGIN),
    }
    data = values("int16").transpose()  # pynrrd's first axis is the fastest
    nrrd.write(str(HERE / "pynrrd_big.nhdr"), data.astype(">i2"), header, index_order="F")
    header = {"encoding": "gzip", "spacings": list(SPACING), "endian": "little"}
    nrrd.write(str(HERE / "pynrrd_gzip.nrrd"), values("uint32").transpose(), header, index_order="F")
    # Two lines and then seven bytes of something else before the voxels.
    body = b"first line\nsecond line\n" + b"1234567" + values(">u2").tobytes()
    (HERE / "skipped.bin").write_bytes(body)
    (HERE / "skipped.nhdr").write_text(
        "NRRD0005\r\n# by hand\r\ntype: unsigned short\r\ndimension: 4\r\nsizes: 5 4 3 1\r\n"
        "endian: big\r\nencoding: raw\r\nline skip: 2\r\nbyte skip: 7\r\nkey:=value\r\n"
        "datafile: ./skipped.bin\r\n")
    (HERE / "skipped_end.nhdr").write_text(
        "NRRD0001\ntype: ushort\ndimension: 3\nsizes: 5 4 3\nspacings: 0.5 nan 2.25\n"
        "endian: big\nencoding: raw\nbyte skip: -1\ndata file: skipped.bin\n")


def write_nibabel_files():
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = ORIGIN
    data = values("int16").transpose()
    one = nibabel.Nifti1Image(data, affine, nibabel.Nifti1Header(endianness=">"))
    one.header.set_data_dtype("i2")
    one.header.set_slope_inter(0.5, -3)
    nibabel.save(one, str(HERE / "nibabel_big_scaled.nii"))
    # nibabel scales what it is given; the numbers in the file are to be those above.
    raw = (HERE / "nibabel_big_scaled.nii").read_bytes()[:352]
    (HERE / "nibabel_big_scaled.nii").write_bytes(raw + values(">i2").tobytes())
    nibabel.save(nibabel.Nifti2Image(values("float64").transpose(), affine),
                 str(HERE / "nibabel_two.nii.gz"))
    vectors = values("float32", 3).transpose(2, 1, 0, 3)[:, :, :, np.newaxis, :]
    nibabel.save(nibabel.Nifti1Image(vectors, affine), str(HERE / "nibabel_vector.nii"))


def vtk_image(arrays, cells=False, extent=None):
    image = vtk.vtkImageData()
    low = extent or (0, 0, 0)
    more = 1 if cells else 0
    image.SetExtent(low[0], low[0] + 4 + more, low[1], low[1] + 3 + more, low[2],
                    low[2] + 2 + more)
    image.SetSpacing(SPACING)
    image.SetOrigin(ORIGIN)
    for name, data in arrays.items():
        flat = data.reshape(60, -1) if data.ndim == 4 else data.reshape(60)
        array = numpy_support.numpy_to_vtk(flat, deep=True)
        array.SetName(name)
        (image.GetCellData() if cells else image.GetPointData()).AddArray(array)
    return image


def write_vti(name, image, mode="appended", compressed=False, wide=False, big=False, encode=False):
    writer = vtk.vtkXMLImageDataWriter()
    writer.SetInputData(image)
    writer.SetFileName(str(HERE / name))
    {"ascii": writer.SetDataModeToAscii, "binary": writer.SetDataModeToBinary,
     "appended": writer.SetDataModeToAppended}[mode]()
    if compressed:
        writer.SetCompressorTypeToZLib()
        writer.SetBlockSize(128)
    else:
        writer.SetCompressorTypeToNone()
    if wide:
        writer.SetHeaderTypeToUInt64()
    else:
        writer.SetHeaderTypeToUInt32()
    if big:
        writer.SetByteOrderToBigEndian()
    writer.SetEncodeAppendedData(encode)
    assert writer.Write() == 1


def write_vtk_files():
    write_vti("vtk_ascii.vti", vtk_image({"a": values("uint8")}),
              "ascii")
    write_vti("vtk_inline.vti", vtk_image({"a": values("float64")}), "binary")
    write_vti("vtk_inline_zlib.vti", vtk_image({"a": values("int16")}), "binary", compressed=True,
              wide=True)
    write_vti("vtk_raw.vti", vtk_image({"a": values("float32")}), wide=True)
    write_vti("vtk_raw_zlib_big.vti", vtk_image({"a": values("int32")}), compressed=True, big=True)
    write_vti("vtk_base64.vti", vtk_image({"a": values("uint16")}), encode=True)
    write_vti("vtk_base64_zlib.vti", vtk_image({"a": values("uint64")}), compressed=True, wide=True,
              encode=True)
    write_vti("vtk_cells.vti", vtk_image({"a": values("float32")}, cells=True))
    write_vti("vtk_extent.vti", vtk_image({"a": values("float32")}, extent=(2, -1, 7)))
    write_vti("vtk_several.vti", vtk_image({
        "u": values("float32"),
        "v": values("float32") + np.float32(1000),
        "vector": values("float32", 3),
        "other": values("int16"),
    }))


def write_netcdf(name, form, several=False):
    with netCDF4.Dataset(HERE / name, "w", format=form) as file:
        for axis, length in (("z", 3), ("y", 4), ("x", 5), ("time", 2)):
            file.createDimension(axis, length)
        for d, (axis, length) in enumerate((("x", 5), ("y", 4), ("z", 3))):
            place = file.createVariable(axis, "f8", (axis,))
            place[:] = ORIGIN[d] + SPACING[d] * np.arange(length)
        packed = file.createVariable("packed", "i2", ("z", "y", "x"), fill_value=-99)
        packed.set_auto_maskandscale(False)
        packed.scale_factor = np.float32(0.5)
        packed.add_offset = np.float32(-3)
        data = values("int16")
        data[1, 2, 3] = -99
        packed[:] = data
        if not several:
            return
        moving = file.createVariable("moving", "f4", ("time", "z", "y", "x"))
        moving[:] = np.stack([values("f4"), values("f4") + 1000])
        counts = file.createVariable("counts", "i4", ("z", "y", "x"))
        counts.missing_value = np.int32(234 - 1)
        counts[:] = values("i4")
        for word in ("u", "v"):
            part = file.createVariable(word, "f4", ("z", "y", "x"))
            part[:] = values("f4") + (1000 if word == "v" else 0)
        if form == "NETCDF4":
            group = file.createGroup("inner")
            inside = group.createVariable("inside", "u2", ("z", "y", "x"), zlib=True)
            inside[:] = values("u2")


def write_hdf5():
    with h5py.File(HERE / "h5py.h5", "w") as file:
        file["flat"] = values("f4")
        file["big"] = values(">i4")
        group = file.create_group("group")
        packed = group.create_dataset("packed", data=values("u2"), chunks=(2, 3, 4),
                                      compression="gzip", shuffle=True)
        packed.attrs["element_size_um"] = SPACING[::-1]
        group["moving"] = np.stack([values("f8"), values("f8") + 1000])
        group["half"] = values("f2")
        file["words"] = "no numbers"
        file["line"] = np.arange(7)
    with h5py.File(HERE / "h5py_one.h5", "w") as file:
        data = values("f4")
        data[2, 3, 4] = np.nan
        file["only"] = data


def write_all():
    HERE.mkdir(exist_ok=True)
    write_itk_files()
    write_pynrrd_files()
    write_nibabel_files()
    write_vtk_files()
    write_netcdf("classic.nc", "NETCDF3_CLASSIC")
    write_netcdf("offset64.nc", "NETCDF3_64BIT_OFFSET", several=True)
    write_netcdf("four.nc", "NETCDF4", several=True)
    write_hdf5()


# What each reader finds in a file: values (z, y, x[, c]), spacing, origin.
def read_itk(path):
    image = sitk.ReadImage(str(path))
    return sitk.GetArrayFromImage(image), image.GetSpacing(), image.GetOrigin()


def read_nrrd(path):
    data, header = nrrd.read(str(path), index_order="F")
    order = (2, 1, 0) if data.ndim == 3 else (2, 1, 0, 3)
    if "space directions" not in header:
        return data.transpose(order), tuple(header["spacings"][:3]), (0, 0, 0)
    spacing = np.linalg.norm(np.array(header["space directions"], float)[:3], axis=1)
    return data.transpose(order), tuple(spacing), tuple(header["space origin"])


def read_nifti(path):
    image = nibabel.load(str(path))
    data = np.asanyarray(image.dataobj)
    if data.ndim == 5:
        data = data[:, :, :, 0, :]
    origin = tuple(image.affine[:3, 3])
    return data.transpose((2, 1, 0) if data.ndim == 3 else (2, 1, 0, 3)), \
        image.header.get_zooms()[:3], origin


def read_vti(path):
    reader = vtk.vtkXMLImageDataReader()
    reader.SetFileName(str(path))
    reader.Update()
    image = reader.GetOutput()
    array = numpy_support.vtk_to_numpy(image.GetPointData().GetArray(0))
    data = array.reshape(*image.GetDimensions()[::-1], *array.shape[1:])
    return data, image.GetSpacing(), image.GetOrigin()


READERS = {".nrrd": (read_itk, read_nrrd), ".nhdr": (read_itk, read_nrrd), ".mha": (read_itk,),
           ".mhd": (read_itk,), ".nii": (read_nifti,), ".vti": (read_vti,)}
SOURCES = {"itk.nrrd": ("uint8", 1), "itk_gzip.nrrd": ("int16", 1), "itk.mha": ("int32", 1),
           "itk_zlib.mha": ("float64", 1), "itk_detached.mhd": ("float32", 1),
           "itk_short.nhdr": ("uint16", 1), "itk_vector.nrrd": ("float32", 3)}


def check(program):
    checked = 0
    with tempfile.TemporaryDirectory() as directory:
        for source, (dtype, components) in SOURCES.items():
            for ending, readers in READERS.items():
                path = pathlib.Path(directory) / f"{ending[1:]}_{pathlib.Path(source).stem}{ending}"
                subprocess.run([program, "convert", HERE / source, "-o", path], check=True,
                               stdout=subprocess.DEVNULL)
                for reader in readers:
                    data, spacing, origin = reader(path)
                    what = f"{source} as {ending} by {reader.__name__}"
                    assert data.dtype == dtype, f"{what}: {data.dtype}"
                    assert np.array_equal(data, values(dtype, components)), f"{what}: {data}"
                    assert np.allclose(spacing, SPACING), f"{what}: spacing {spacing}"
                    # ITK's x and y point the other way than NIfTI's; kanbench's stay.
                    assert np.allclose(origin, ORIGIN), f"{what}: origin {origin}"
                    checked += 1
    print(f"{checked} files read back")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--check"]:
        check(sys.argv[2])
    else:
        write_all()
