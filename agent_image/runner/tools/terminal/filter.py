"""Which system calls a command is denied, as a program for the kernel that libseccomp writes.

Namespaces do not part everything: AF_VSOCK reaches the hypervisor, keyrings go by user, and memory of memfd or System V
is nobody's address space. The rest of the list is what breaks out of boxes, and no ordinary program needs it.
"""

import ctypes
import errno
import os
from functools import cache
from typing import Any

_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_EQUAL, _GREATER = 4, 6
_INET6 = 10
_STRANGE = range(3, _INET6)
"""Families of sockets between AF_INET and AF_INET6."""
DENIED = """
add_key keyctl request_key memfd_create memfd_secret shmget shmat msgget semget
ptrace process_vm_readv process_vm_writev kcmp pidfd_getfd perf_event_open bpf userfaultfd
mount umount2 pivot_root chroot open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr unshare setns
io_uring_setup io_uring_enter io_uring_register open_by_handle_at name_to_handle_at fanotify_init
kexec_load kexec_file_load init_module finit_module delete_module reboot swapon swapoff acct quotactl syslog
"""


class _Comparison(ctypes.Structure):
    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


@cache
def program() -> bytes:
    """Return the filter.

    Raises:
        OSError: libseccomp is missing or refuses a rule.
    """
    library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(_ALLOW)))
    try:
        for name in DENIED.split():
            _deny(library, context, name, errno.EPERM)
        for family in _STRANGE:
            _deny(library, context, "socket", errno.EAFNOSUPPORT, _Comparison(0, _EQUAL, family, 0))
        _deny(library, context, "socket", errno.EAFNOSUPPORT, _Comparison(0, _GREATER, _INET6, 0))
        return _written(library, context)
    finally:
        library.seccomp_release(context)


def _deny(library: Any, context: ctypes.c_void_p, name: str, error: int, *when: _Comparison) -> None:
    number = library.seccomp_syscall_resolve_name(name.encode())
    if number == -1:  # a call this libseccomp does not know yet
        return
    action = ctypes.c_uint32(_ERRNO | error)
    if code := library.seccomp_rule_add_array(context, action, number, len(when), (_Comparison * len(when))(*when)):
        raise OSError(-code, f"libseccomp refuses the rule for {name}")


def _written(library: Any, context: ctypes.c_void_p) -> bytes:
    with open(os.memfd_create("filter"), "w+b") as file:  # noqa: PTH123
        if code := library.seccomp_export_bpf(context, file.fileno()):
            raise OSError(-code, "libseccomp cannot write its filter")
        file.seek(0)
        return file.read()
