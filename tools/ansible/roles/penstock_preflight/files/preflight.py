#!/usr/bin/env python3
"""Looks at a server and prints what speaks against running Penstock on it, as JSON.

{"refusals": [{"name", "text"}], "warnings": [{"name", "text"}], "mtu": [n]}. It reads /proc and /sys and changes nothing.
SYSROOT in the environment is where to find them, for tests.
"""

import argparse
import ctypes
import json
import os
import platform
import resource
import stat
import sys

ROOT = os.environ.get("SYSROOT", "")


def read(path):
    try:
        with open(ROOT + path, encoding="ascii", errors="replace") as f:
            return f.read().strip()
    except OSError:
        return None


def kernel_version():
    text = (read("/proc/sys/kernel/osrelease") or platform.release()).split("-")[0].split("+")[0]
    return tuple(int(part) for part in text.split(".")[:2])


def disk_of(device):
    """The name in /sys/block of the disk that a device is, or is a partition of."""
    name = os.path.basename(os.path.realpath(ROOT + device) if ROOT else os.path.realpath(device))
    if os.path.isdir(f"{ROOT}/sys/block/{name}"):
        return name
    path = os.path.realpath(f"{ROOT}/sys/class/block/{name}")
    parent = os.path.basename(os.path.dirname(path))
    return parent if os.path.isdir(f"{ROOT}/sys/block/{parent}") else name


def mounts():
    """Yields (device, mount point) of everything mounted."""
    for line in (read("/proc/self/mounts") or read("/proc/mounts") or "").splitlines():
        device, point = line.split()[:2]
        if device.startswith("/dev/"):
            yield device, point.replace("\\040", " ")


def numa_node(path):
    """The NUMA node of a device below /sys, or None where it is not known (-1)."""
    path = os.path.realpath(ROOT + path)
    while path.startswith(ROOT + "/sys/") and path != ROOT + "/sys":
        try:
            with open(path + "/numa_node", encoding="ascii") as f:
                node = int(f.read())
                return node if node >= 0 else None
        except (OSError, ValueError):
            path = os.path.dirname(path)
    return None


def clock_synchronised():
    """What the kernel says of its clock (adjtimex(2)); None where it does not say."""
    if ROOT:
        state = read("/clock")
        return None if state is None else state == "synchronised"
    try:
        timex = ctypes.create_string_buffer(512)  # Zero modes: only ask. Larger than any struct timex.
        state = ctypes.CDLL(None, use_errno=True).adjtimex(timex)
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != 5  # TIME_ERROR.


def main():
    parser = argparse.ArgumentParser()
    for name in ("device", "directory", "interface"):
        parser.add_argument("--" + name, action="append", default=[])
    parser.add_argument("--mtu", type=int, default=0)
    parser.add_argument("--min-kernel", default="5.11")
    parser.add_argument("--min-memlock", type=int, default=0)
    args = parser.parse_args()
    refusals, warnings, mtus = [], [], []

    def refuse(name, text):
        refusals.append({"name": name, "text": text})

    def warn(name, text):
        warnings.append({"name": name, "text": text})

    want = tuple(int(part) for part in args.min_kernel.split("."))
    if kernel_version() < want:
        refuse("kernel", f"the kernel is {'.'.join(map(str, kernel_version()))}; io_uring needs {args.min_kernel} or later")
    if read("/proc/sys/kernel/io_uring_disabled") in ("1", "2"):
        refuse("io_uring", "io_uring is forbidden: sysctl kernel.io_uring_disabled must be 0")
    if args.min_memlock:
        hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
        if hard not in (resource.RLIM_INFINITY, -1) and hard < args.min_memlock and os.geteuid() != 0:
            refuse("memlock", f"at most {hard} bytes may be locked; {args.min_memlock} are needed (LimitMEMLOCK, /etc/security/limits.d)")
    if clock_synchronised() is False:
        refuse("clock", "the clock is not synchronised: start chrony or systemd-timesyncd; signatures are refused beyond 15 minutes of difference")
    elif clock_synchronised() is None:
        warn("clock", "whether the clock is synchronised cannot be found out")

    in_use = {}
    for device, point in mounts():
        in_use.setdefault(disk_of(device), []).append(point)
    nodes = {}
    for device in args.device:
        try:
            if not stat.S_ISBLK(os.stat(ROOT + device).st_mode) and not ROOT:
                refuse("device", f"{device} is not a block device")
                continue
        except OSError:
            refuse("device", f"{device} is not there")
            continue
        disk = disk_of(device)
        points = in_use.get(disk, [])
        foreign = [p for p in points if p in ("/", "/boot", "/boot/efi", "/usr", "/var", "/home")]
        if foreign:
            refuse("root", f"{device} is on the disk of {', '.join(foreign)}")
        cache = read(f"/sys/block/{disk}/queue/write_cache")
        fua = read(f"/sys/block/{disk}/queue/fua")
        if cache == "write back" and fua != "1":
            warn("cache", f"{device} has a volatile write cache and no FUA: every write waits for a flush; drives with power-loss protection do not")
        nodes.setdefault(numa_node(f"/sys/block/{disk}/device"), []).append(device)
    for directory in args.directory:
        path = os.path.realpath(directory)
        while not os.path.exists(path):
            path = os.path.dirname(path)
        if os.stat(path).st_dev == os.stat("/").st_dev:
            refuse("root", f"{directory} is on the root file system")

    for interface in args.interface:
        mtu = read(f"/sys/class/net/{interface}/mtu")
        if mtu is None:
            refuse("interface", f"there is no network interface {interface}")
            continue
        if args.mtu and int(mtu) > args.mtu:
            warn("mtu", f"{interface} has an MTU of {mtu}; it will be lowered to {args.mtu}")
        mtus.append(args.mtu or int(mtu))
        node = numa_node(f"/sys/class/net/{interface}/device")
        far = [d for other, devices in nodes.items() for d in devices if node is not None and other is not None and other != node]
        if far:
            refuse("numa", f"{interface} hangs on NUMA node {node}, and {', '.join(far)} on another: every byte would cross between sockets; "
                           "run one node per NUMA node (--numa-node), each with its own interface, or move the cards")
    json.dump({"refusals": refusals, "warnings": warnings, "mtu": sorted(set(mtus))}, sys.stdout)


if __name__ == "__main__":
    main()
