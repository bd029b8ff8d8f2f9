"""Install the wheel in an empty environment and run its own commands there: `python -m tools.try_wheel dist`.

The commands run outside the clone with an empty home folder, so that whatever the wheel lacks shows. Then the
package's folder can no longer be written, as in a system-wide installation, and a command runs again.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

COMPILES = "sweep-backward-released-float32"
ROWS = ("term-*", "golden-released-dense", COMPILES)
COMMANDS = (
    ("check", *ROWS),
    ("demo", "--epochs", "1", "--no-download", "--quiet"),
    ("train", "list"),
    ("conformance", "export", "cases.npz"),
)
WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
# Root writes whatever the permissions say, unless it gives this up.
OBEY_PERMISSIONS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()


class Installed:
    """A wheel in an environment of its own, below `folder`."""

    def __init__(self, wheel: Path, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "environment" / "bin"
        subprocess.run([sys.executable, "-m", "venv", folder / "environment"], check=True)
        self.run([self.bin / "python", "-m", "pip", "install", "--quiet", wheel.resolve()], os.environ.get("HOME"))
        where = "import pathlib, tsslbp_ref; print(pathlib.Path(tsslbp_ref.__file__).parent)"
        self.package = Path(self.run([self.bin / "python", "-c", where]).strip())

    def run(self, command: list[str | Path], home: str | None = None) -> str:
        """What a process prints that knows nothing of the clone; that it fails is an error."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TSSLBP", "NUMBA"))}
        environment = {**kept, "HOME": home or str(self.folder / "home"), "MPLBACKEND": "agg"}
        return subprocess.run(
            command, cwd=self.folder, env=environment, check=True, stdout=subprocess.PIPE, text=True
        ).stdout

    def lock(self) -> None:
        """Take away the right to write in the package's folder, and see that it is gone."""
        for path in (self.package, *self.package.rglob("*")):
            path.chmod(path.stat().st_mode & ~WRITABLE)
        touched = subprocess.run([*OBEY_PERMISSIONS, "touch", self.package / "x"], stderr=subprocess.DEVNULL)
        if touched.returncode == 0:
            raise RuntimeError(f"{self.package} can still be written")


def main(dist: str) -> None:
    """Try the one wheel of a folder."""
    (wheel,) = Path(dist).glob("*.whl")
    with tempfile.TemporaryDirectory() as made:
        installed = Installed(wheel, Path(made))
        for arguments in COMMANDS:
            installed.run([installed.bin / "tsslbp-ref", *arguments])
            print("ran: tsslbp-ref", *arguments, flush=True)
        version = installed.run([installed.bin / "tsslbp-ref", "--version"]).split()[-1]
        if wheel.name.split("-")[1] != version:
            raise RuntimeError(f"{wheel.name} says that it is {version}")
        installed.lock()
        installed.run([*OBEY_PERMISSIONS, installed.bin / "tsslbp-ref", "check", COMPILES])
        print("ran: tsslbp-ref check, in a folder that cannot be written", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
