import builtins
import io
import sys
import tarfile
import types
import zipfile

import numpy as np
import pytest

from eventsnn.datasets import Images, cifar10, load_cifar10
from eventsnn.datasets.cifar10 import CLASS_NAMES
from eventsnn.errors import DataError, MissingDependencyError, ValidationError

FOLDER = "cifar-10-batches-bin"


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    """Seven images a .bin file instead of 10,000."""
    monkeypatch.setattr(cifar10, "_N_PER_BATCH", 7)


def original(split, seed=0):
    """Images and labels as the binary version of 7 images a file would hold them."""
    rng = np.random.default_rng([seed, split == "test"])
    n = 7 if split == "test" else 35
    return rng.integers(0, 256, (n, 32, 32, 3), np.uint8), rng.integers(0, 10, n)


def batch(images, labels):
    """A .bin file, byte by byte as its authors describe it: label, then red, green, blue, each row by row."""
    content = bytearray()
    for image, label in zip(images, labels, strict=True):
        content.append(label)
        for channel in range(3):
            for row in range(32):
                content += bytes(image[row, :, channel].tolist())
    return bytes(content)


def bin_files():
    files = {"batches.meta.txt": "\n".join(CLASS_NAMES).encode(), "readme.html": b"<html>"}
    x, y = original("train")
    for k in range(5):
        files[f"data_batch_{k + 1}.bin"] = batch(x[7 * k : 7 * k + 7], y[7 * k : 7 * k + 7])
    files["test_batch.bin"] = batch(*original("test"))
    return files


def picture(pixels, kind="PNG"):
    image = pytest.importorskip("PIL.Image", reason="reading images needs Pillow")
    file = io.BytesIO()
    image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def picture_files(n=2):
    """n PNGs of every class and split, and what they should be read as."""
    rng = np.random.default_rng(3)
    files, expected = {}, {}
    for split in ("train", "test"):
        pixels = rng.integers(0, 256, (n, 10, 32, 32, 3), np.uint8)  # by number, then class
        expected[split] = pixels.reshape(-1, 32, 32, 3), np.tile(np.arange(10), n)
        for k in range(n):
            for label, name in enumerate(CLASS_NAMES):
                files[f"{split}/{name}/{k:04}.png"] = picture(pixels[k, label])
    return files, expected


def write_folder(path, files):
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def write_tar(path, files, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def write_zip(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def check(found, expected):
    images, labels = expected
    assert found.images.dtype == np.uint8
    assert found.labels.dtype == np.int64
    np.testing.assert_array_equal(found.images, images)
    np.testing.assert_array_equal(found.labels, labels)
    assert found.class_names == CLASS_NAMES


@pytest.mark.parametrize("split", ["train", "test"])
def test_load_cifar10_reads_the_binary_version(tmp_path, split):
    files = bin_files()
    archive = write_tar(tmp_path / "cifar-10-binary.tar.gz", {f"{FOLDER}/{name}": files[name] for name in files})
    found = load_cifar10(split, path=archive)
    check(found, original(split))
    assert found.origin == f"{archive} (binary version)"
    folder = write_folder(tmp_path / FOLDER, files)
    check(load_cifar10(split, path=str(folder)), original(split))
    check(load_cifar10(split, path=tmp_path), original(split))  # the folder that holds it


def test_load_cifar10_expects_files_of_10000_images(tmp_path, monkeypatch):
    monkeypatch.undo()
    write_folder(tmp_path, bin_files())
    with pytest.raises(DataError, match=r"test_batch.bin: damaged, 21511 bytes, expected 30730000; fetch it again"):
        load_cifar10("test", path=tmp_path)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz", "zip", "folder"])
def test_load_cifar10_reads_images(tmp_path, mode, split):
    files, expected = picture_files()
    files["README"] = b"to be ignored"
    place = tmp_path / "images"
    if mode == "folder":
        write_folder(place, files)
    elif mode == "zip":
        write_zip(place, files)
    else:
        write_tar(place, files, mode)
    found = load_cifar10(split, path=place)
    check(found, expected[split])  # the first ten are of ten classes
    assert found.origin == f"{place} (20 images)"


def test_load_cifar10_reads_jpeg_and_grey(tmp_path):
    smooth = np.add.outer(np.arange(0, 128, 4), np.arange(0, 128, 4)).astype(np.uint8)
    files = {f"x/test/{name}/a.JPG": picture(np.stack([smooth] * 3, 2), "JPEG") for name in CLASS_NAMES}
    files["x/test/ship/a.JPG"] = picture(smooth)  # what it holds counts, not what it is called
    found = load_cifar10("test", path=write_tar(tmp_path / "a.tar", files, "w"))
    assert found.labels.tolist() == list(range(10))
    expected = np.broadcast_to(smooth[:, :, None], found.images.shape).astype(int)
    assert np.abs(found.images - expected).max() <= 3  # a gradient of 4 a pixel survives JPEG to a few steps
    assert (found.images[CLASS_NAMES.index("ship")] == expected[0]).all()


def test_load_cifar10_reads_npz(tmp_path):
    (x, y), (x_test, y_test) = original("train"), original("test")
    path = tmp_path / "cifar.npz"
    np.savez_compressed(path, x_train=x, y_train=y.astype(np.uint8), x_test=x_test, y_test=y_test[:, None])
    check(load_cifar10("train", path=path), (x, y))
    found = load_cifar10("test", path=path)
    check(found, (x_test, y_test))
    assert found.origin == f"{path} (npz)"


def test_load_cifar10_downloads_with_a_checksum(tmp_path, monkeypatch):
    archive, calls = write_tar(tmp_path / "a.tar.gz", bin_files()), []

    def retrieve(url, known_hash, fname):
        calls.append((url, known_hash, fname))
        return str(archive)

    monkeypatch.setitem(sys.modules, "pooch", types.SimpleNamespace(retrieve=retrieve))
    found = load_cifar10("test", download=True)
    check(found, original("test"))
    [(url, known_hash, name)] = calls
    assert found.origin == f"downloaded from {url} (binary version)"
    assert known_hash == f"sha256:{cifar10._URL_SHA256}"
    assert name == "cifar-10-binary.tar.gz"


def test_load_cifar10_checks_what_it_downloaded(tmp_path, monkeypatch):
    pooch = pytest.importorskip("pooch")
    archive = write_tar(tmp_path / "a.tar.gz", bin_files())

    def fetch(url, output_file, _pooch):
        with open(output_file, "wb") as file:
            file.write(archive.read_bytes())

    monkeypatch.setattr(pooch.core, "choose_downloader", lambda *args, **kwargs: fetch)
    monkeypatch.setattr(pooch.core, "os_cache", lambda project: tmp_path / project)
    with pytest.raises(DataError, match=r"could not download https://www.cs.toronto.edu/.*hash"):
        load_cifar10("test", download=True)
    monkeypatch.setattr(cifar10, "_URL_SHA256", pooch.file_hash(str(archive)))
    check(load_cifar10("test", download=True), original("test"))


def test_load_cifar10_says_why_a_download_failed(monkeypatch):
    def retrieve(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setitem(sys.modules, "pooch", types.SimpleNamespace(retrieve=retrieve))
    with pytest.raises(DataError, match="load_cifar10: could not download .*no route to host; give a local file"):
        load_cifar10("train", download=True)


def test_load_cifar10_needs_a_source():
    with pytest.raises(DataError, match=r"ships no CIFAR-10; download=True fetches .* or give as path the binary"):
        load_cifar10("test")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "valid"}, "load_cifar10.split: must be 'train' or 'test', got 'valid'"),
        ({"split": "test", "path": "x", "download": True}, "a path or download=True, not both"),
    ],
)
def test_load_cifar10_refuses_bad_arguments(arguments, message):
    with pytest.raises(ValidationError, match=message):
        load_cifar10(**arguments)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_load_cifar10_refuses_a_truncated_archive(tmp_path, mode):
    whole = write_tar(tmp_path / "whole.tar", bin_files(), mode).read_bytes()
    path = tmp_path / "part.tar"
    for size in (0, 5, 700, len(whole) // 2, *([] if mode == "w" else [len(whole) - 4])):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"load_cifar10: .*part.tar: .*(damaged|incomplete|none of the forms)"):
            load_cifar10("train", path=path)


def test_load_cifar10_refuses_flipped_bits(tmp_path):
    whole = bytearray(write_tar(tmp_path / "whole.tar.gz", bin_files()).read_bytes())
    path = tmp_path / "flipped.tar.gz"
    for place in (len(whole) // 2, len(whole) - 6):  # in the data, and in the checksum at the end
        flipped = whole.copy()
        flipped[place] ^= 0x10
        path.write_bytes(flipped)
        with pytest.raises(DataError, match=r"flipped.tar.gz: damaged"):
            load_cifar10("train", path=path)


def test_load_cifar10_refuses_damaged_and_missing_batches(tmp_path):
    files = bin_files()
    short = write_folder(tmp_path / "short", files | {"data_batch_3.bin": files["data_batch_3.bin"][:-1]})
    with pytest.raises(DataError, match=r"short: data_batch_3.bin: damaged, 21510 bytes, expected 21511"):
        load_cifar10("train", path=short)
    check(load_cifar10("test", path=short), original("test"))
    del files["data_batch_2.bin"]
    with pytest.raises(DataError, match=r"incomplete, data_batch_2.bin is not there"):
        load_cifar10("train", path=write_tar(tmp_path / "some.tar.gz", files))
    label = bytearray(files["test_batch.bin"])
    label[2 * 3073] = 10
    with pytest.raises(DataError, match=r"test_batch.bin: damaged, record 2 has label 10"):
        load_cifar10("test", path=write_folder(tmp_path / "label", {"test_batch.bin": label}))


def test_load_cifar10_refuses_pickles(tmp_path):
    files = {f"cifar-10-batches-py/{name}": b"\x80\x04." for name in ("data_batch_1", "test_batch", "batches.meta")}
    for place in (write_tar(tmp_path / "python.tar.gz", files), write_folder(tmp_path / "python", files)):
        for split in ("train", "test"):
            with pytest.raises(DataError, match=r"pickles and is not read.*take the binary version"):
                load_cifar10(split, path=place)


def test_load_cifar10_refuses_wrong_images(tmp_path):
    files, _ = picture_files(1)
    whole = files["test/cat/0000.png"]
    other = picture(np.zeros((28, 28, 3), np.uint8))
    for content, message in [
        (whole[:300], r"test/cat/0000.png: not a readable image"),
        (b"", r"test/cat/0000.png: not a readable image"),
        (other, r"test/cat/0000.png: 28 x 28 pixels, expected 32 x 32"),
    ]:
        path = write_zip(tmp_path / "images.zip", files | {"test/cat/0000.png": content})
        with pytest.raises(DataError, match=message):
            load_cifar10("test", path=path)
        assert len(load_cifar10("train", path=path)) == 10
    with pytest.raises(DataError, match=r"test/lion/1.png: no class 'lion', only airplane, "):
        load_cifar10("test", path=write_zip(tmp_path / "lion.zip", files | {"test/lion/1.png": whole}))
    del files["test/cat/0000.png"]
    with pytest.raises(DataError, match="no test images of cat"):
        load_cifar10("test", path=write_zip(tmp_path / "no_cat.zip", files))


def test_load_cifar10_says_that_images_need_pillow(tmp_path, monkeypatch):
    files, _ = picture_files(1)
    path, plain = write_tar(tmp_path / "images.tar", files, "w"), builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == "PIL":
            raise ImportError(name)
        return plain(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependencyError, match=r'needs Pillow: pip install "eventsnn\[images\]"'):
        load_cifar10("test", path=path)


def test_load_cifar10_ignores_links_in_archives(tmp_path):
    path = tmp_path / "links.tar"
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("test_batch.bin")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(info)
    with pytest.raises(DataError, match="holds no test data"):
        load_cifar10("test", path=path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros(3)}, "has no array x_test and y_test"),
        ({"x_test": np.zeros((9, 32, 32, 3)), "y_test": np.zeros(9, int)}, "channels last, got float64"),
        ({"x_test": np.zeros((9, 3, 32, 32), np.uint8), "y_test": np.zeros(9, int)}, r"got uint8, \(9, 3, 32, 32\)"),
        ({"x_test": np.zeros((0, 32, 32, 3), np.uint8), "y_test": np.zeros(0, int)}, r"\(0, 32, 32, 3\)"),
        ({"x_test": np.zeros((9, 32, 32, 3), np.uint8), "y_test": np.zeros(8, int)}, "one per image"),
        ({"x_test": np.zeros((9, 32, 32, 3), np.uint8), "y_test": np.full(9, 10)}, "integers 0 .. 9"),
        ({"x_test": np.array([None]), "y_test": np.zeros(1)}, "damaged, or none of the forms"),  # a pickle
    ],
)
def test_load_cifar10_refuses_arrays_that_are_not_cifar10(tmp_path, arrays, message):
    path = tmp_path / "some.npz"
    np.savez(path, **arrays)
    with pytest.raises(DataError, match=message):
        load_cifar10("test", path=path)


def test_load_cifar10_refuses_other_files(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        load_cifar10("test", path=tmp_path / "nothing")
    (tmp_path / "text").write_bytes(b"hello " * 1000)
    with pytest.raises(DataError, match="none of the forms that are read"):
        load_cifar10("test", path=tmp_path / "text")
    with pytest.raises(DataError, match="holds no test data"):
        load_cifar10("test", path=tmp_path)


def test_images_selects_and_scales():
    x, y = original("test")
    images = Images(x, y, CLASS_NAMES, "drawn")
    for key, chosen in ((slice(1, 4), [1, 2, 3]), ([2, 0], [2, 0]), (np.arange(7) % 3 == 0, [0, 3, 6]), (5, [5])):
        part = images[key]
        np.testing.assert_array_equal(part.images, x[chosen])
        np.testing.assert_array_equal(part.labels, y[chosen])
        assert part.origin == "drawn"
    assert images[[]].images.shape == (0, 32, 32, 3)
    values = images.values()
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, x / 255, rtol=1e-7)  # one rounding to float32


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 4, 4, 3)), np.zeros(2, int), "must be uint8"),
        (np.zeros((2, 4, 4), np.uint8), np.zeros(2, int), r"got uint8, \(2, 4, 4\)"),
        (np.zeros((2, 4, 4, 1), np.uint8), np.zeros(3, int), r"2 images but labels of shape \(3,\)"),
    ],
)
def test_images_refuses_what_does_not_fit(images, labels, message):
    with pytest.raises(ValidationError, match=message):
        Images(images, labels, CLASS_NAMES, "drawn")
