"""A bare Debian in a folder: what debootstrap makes of a release, copied for each use, so that what
is done to one is never seen by the next.

Commands run in namespaces of their own: nothing that is mounted for them is seen from outside, and
when the command ends, all that it started ends with it. Needs root, debootstrap and the network.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from support.host import ROOT, Failed, Process, wait_until

FOLDER = ROOT / "build/bare"  # kept: the bare trees, the packages that apt fetched for them, logs
CODENAMES = {"12": "bookworm", "13": "trixie"}
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "DEBIAN_FRONTEND": "noninteractive",
}
# The tree becomes the root, and the old one is out of reach before the command begins.
ENTER = """
set -e
tree=$1; shift
mount --bind "$tree" "$tree"
cd "$tree"
mkdir -p dev/shm dev/pts
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 tmpfs run
mkdir run/lock
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
if [ "$1" = --cgroup ]; then mount -t cgroup2 cgroup2 sys/fs/cgroup; shift; fi
pivot_root . .
umount -l .
exec "$@"
"""
UNSHARE = "unshare --mount --propagation private --pid --ipc --uts --fork --kill-child".split()


def why_not() -> str:
    """Why there can be none here; empty when there can."""
    if os.geteuid() != 0:
        return "only root may make a bare tree"
    for tool in ("debootstrap", "unshare", "pivot_root", "chroot"):
        if not shutil.which(tool):
            return f"there is no {tool}"
    probe = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True, check=False)
    return f"no namespaces: {probe.stderr.strip()}" if probe.returncode else ""


def mirror() -> str:
    """Where the system gets its Debian from."""
    command = ["apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)"]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    for line in found.splitlines():
        origin, _, address = line.partition(" ")
        if origin == "Debian" and "security" not in address:
            return address
    return "http://deb.debian.org/debian"


def remove(tree: Path) -> None:
    """Deletes a tree, unless something is mounted in it."""
    with open("/proc/self/mounts") as mounts:
        places = [line.split()[1].encode().decode("unicode_escape") for line in mounts]
    if inside := [place for place in places if Path(place).is_relative_to(tree)]:
        raise Failed(f"not deleting {tree}: {inside[0]} is mounted")
    subprocess.run(["rm", "-rf", "--one-file-system", str(tree)], check=True)


def pristine(release: str, *, fresh: bool = False) -> Path:
    """The tree of a release as debootstrap made it, now or in an earlier run."""
    tree = FOLDER / f"debian-{release}"
    stamp = FOLDER / f"debian-{release}.made"
    if fresh or not stamp.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        stamp.unlink(missing_ok=True)
        remove(tree)
        command = ["debootstrap", "--variant=minbase", CODENAMES[release], str(tree), mirror()]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = (done.stdout + done.stderr).strip().splitlines() or ["nothing said"]
            raise Failed(f"debootstrap {CODENAMES[release]}: {said[-1]}")
        stamp.touch()
    return tree


class Tree:
    """A copy of a bare tree, gone at the end of a `with`."""

    def __init__(self, release: str, name: str, *, fresh: bool = False):
        original = pristine(release, fresh=fresh)
        self.release = release
        self.archives = FOLDER / f"debian-{release}-archives"
        self.log = FOLDER / f"debian-{release}-{name}.log"
        self.root = Path(tempfile.mkdtemp(prefix=f"run-{release}-{name}-", dir=FOLDER))
        self.log.write_text("")
        try:
            subprocess.run(["cp", "-a", "--reflink=auto", f"{original}/.", self.root], check=True)
            # As an installed system has it.
            (self.root / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
            self._join_the_network()
            self._share_archives(self.archives, self._cache())
        except BaseException:
            remove(self.root)
            raise

    def _join_the_network(self) -> None:
        """What each machine of this network is given: where names are found, whom to believe."""
        shutil.copy("/etc/resolv.conf", self.root / "etc/resolv.conf")
        authorities = Path("/usr/local/share/ca-certificates")
        if authorities.is_dir():
            shutil.copytree(authorities, self.root / str(authorities)[1:], dirs_exist_ok=True)
        if Path("/etc/pip.conf").exists():
            shutil.copy("/etc/pip.conf", self.root / "etc/pip.conf")

    def _cache(self) -> Path:
        return self.root / "var/cache/apt/archives"

    @staticmethod
    def _share_archives(source: Path, target: Path) -> None:
        """What apt has fetched once need not be fetched again: it checks it all the same."""
        target.mkdir(parents=True, exist_ok=True)
        for package in source.glob("*.deb"):
            if not (target / package.name).exists():
                os.link(package, target / package.name)

    def command(self, *words: str, user: str = "0", cwd: str = "/", **environment: str):
        home = "/root" if user == "0" else f"/home/{self.name_of(user)}"
        variables = {**ENVIRONMENT, "HOME": home, **environment}
        return [
            *UNSHARE, "sh", "-c", ENTER, "sh", str(self.root),
            "chroot", f"--userspec={user}:{user}", "/",
            "env", "-i", f"--chdir={cwd}", *(f"{k}={v}" for k, v in variables.items()), *words,
        ]  # fmt: skip

    def name_of(self, uid: str) -> str:
        lines = (self.root / "etc/passwd").read_text().splitlines()
        return next(line.split(":")[0] for line in lines if line.split(":")[2] == uid)

    def run(self, *words: str, user: str = "0", cwd: str = "/", **environment: str) -> str:
        """Runs a command to its end. @return its stdout; Failed when it fails"""
        return self.check(self.command(*words, user=user, cwd=cwd, **environment), words)

    def check(self, command: list[str], shown: tuple[str, ...]) -> str:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", check=False,
        )  # fmt: skip
        with self.log.open("a") as log:
            log.write(f"$ {' '.join(shown)}\n{done.stdout}{done.stderr}")
        if done.returncode != 0:
            tail = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
            raise Failed(f"{' '.join(shown)} exits with {done.returncode}:\n{tail}")
        return done.stdout

    def start(self, *words: str, user: str = "0", cwd: str = "/", **environment: str) -> Process:
        return Process(
            self.command(*words, user=user, cwd=cwd, **environment), start_new_session=True
        )

    def install(self, *packages: str) -> None:
        self.run("apt-get", "-qq", "update")
        self.run("apt-get", "-qq", "-y", "install", "--no-install-recommends", *packages)

    def add_user(self, name: str, uid: str) -> None:
        """A user who may do everything by sudo, as the first one of an installed system."""
        self.install("sudo")
        self.run("useradd", "--create-home", "--shell=/bin/bash", f"--uid={uid}", name)
        (self.root / f"etc/sudoers.d/{name}").write_text(f"{name} ALL=(ALL) NOPASSWD: ALL\n")

    def files(self) -> set[str]:
        """Every path but those that apt, dpkg and logs keep for themselves."""
        own = ("var/cache", "var/lib/apt", "var/lib/dpkg", "var/log", "tmp", "root", "var/tmp")
        found = set()
        for folder, folders, names in os.walk(self.root):
            at = Path(folder).relative_to(self.root)
            folders[:] = [name for name in folders if str(at / name) not in own]
            found |= {str(at / name) for name in [*folders, *names]}
        return found

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._share_archives(self._cache(), self.archives)
        remove(self.root)


class Booted:
    """The systemd of a tree as its first process. In a `with`, it is gone afterwards."""

    def __init__(self, tree: Tree):
        self.tree = tree
        self.process = Process(
            [
                *UNSHARE, "--cgroup", "sh", "-c", ENTER, "sh", str(tree.root), "--cgroup",
                "env", "-i", "container=perigee-test", f"PATH={ENVIRONMENT['PATH']}",
                "/lib/systemd/systemd", "--log-target=console", "--show-status=no",
            ],
            start_new_session=True,
        )  # fmt: skip
        try:
            self.first = wait_until(self._child, "a first process")
            self.state = wait_until(self._state, "systemd is up", 90)
        except BaseException:
            self.process.kill()
            raise

    def _child(self) -> str:
        pid = self.process.process.pid
        if self.process.process.poll() is not None:
            raise Failed(f"systemd ended at once: {self.process.tail(3)}")
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().strip()

    def _enter(self, *words: str) -> list[str]:
        variables = [f"{name}={value}" for name, value in ENVIRONMENT.items()]
        return ["nsenter", "-t", self.first, "-a", "env", "-i", *variables, *words]

    def _state(self) -> str:
        if self.process.process.poll() is not None:
            raise Failed(f"systemd ended: {self.process.tail(3)}")
        done = subprocess.run(
            self._enter("systemctl", "is-system-running"),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        state = done.stdout.strip()
        return state if state in ("running", "degraded") else ""

    def run(self, *words: str) -> str:
        return self.tree.check(self._enter(*words), words)

    def value(self, unit: str, name: str) -> str:
        return self.run("systemctl", "show", "--property", name, "--value", unit).strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
