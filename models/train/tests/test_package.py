"""A package is replaced by renames: what stood there is removed only when the new one stands."""

import pathlib
import tempfile
import unittest
from unittest import mock

import package


class Replacing(unittest.TestCase):
    def setUp(self):
        self.kept = tempfile.TemporaryDirectory()
        self.addCleanup(self.kept.cleanup)
        self.folder = pathlib.Path(self.kept.name) / "fraud/1"
        package.write(self.folder, {"manifest.toml": "first", "report/a.txt": "a"})

    def stands(self):
        return {str(path.relative_to(self.folder.parent)): path.read_text() for path in self.folder.parent.rglob("*.t*")}

    def test_the_new_package_stands_alone(self):
        package.write(self.folder, {"manifest.toml": b"second"})
        self.assertEqual(self.stands(), {"1/manifest.toml": "second"})

    def test_nothing_is_removed_before_the_new_one_stands(self):
        removed, remove = [], package.shutil.rmtree

        def spy(path, **options):
            removed.append((path.name, path.exists(), (self.folder / "manifest.toml").read_text()))
            remove(path, **options)

        with mock.patch.object(package.shutil, "rmtree", spy):
            package.write(self.folder, {"manifest.toml": "second"})
        self.assertEqual([found for found in removed if found[1]], [(".1.old", True, "second")])

    def test_a_failed_rename_leaves_the_old_package(self):
        rename = pathlib.Path.rename

        def failing(path, target):
            if path.suffix == ".part":
                raise OSError("the disk")
            return rename(path, target)

        with mock.patch.object(pathlib.Path, "rename", failing), self.assertRaises(OSError):
            package.write(self.folder, {"manifest.toml": "second"})
        self.assertEqual((self.folder / "manifest.toml").read_text(), "first")
        self.assertFalse(self.folder.with_name(".1.old").exists())

    def test_what_lies_beside_begins_with_a_dot(self):
        beside, rename = [], pathlib.Path.rename

        def spy(path, target):
            beside.extend(other.name for other in path.parent.iterdir() if other != self.folder)
            return rename(path, target)

        with mock.patch.object(pathlib.Path, "rename", spy):
            package.write(self.folder, {"manifest.toml": "second"})
        self.assertEqual(set(beside), {".1.part", ".1.old"})

    def test_what_a_killed_run_left_is_taken_back(self):
        self.folder.rename(self.folder.with_name(".1.old"))
        with mock.patch.object(pathlib.Path, "write_bytes", side_effect=OSError), self.assertRaises(OSError):
            package.write(self.folder, {"manifest.toml": "second"})
        self.assertEqual((self.folder / "manifest.toml").read_text(), "first")


if __name__ == "__main__":
    unittest.main()
