//! Calls that only an attacker makes: the process ends.

use super::{BOTH, Case, Rule, Test, Verdict, call, case, check, rule};

const ANY: &[Case] = &[];

/// Calls with one reason in common.
macro_rules! fatal {
    ($($reason:literal: $($(#[$only:meta])? $symbol:ident),+ $(,)?;)+) => {
        &[
            $($($(#[$only])? rule(Verdict::Kill, BOTH, call!($symbol), ANY, $reason),)+)+
            rule(Verdict::Kill, BOTH, call!(SYS_process_vm_readv), OTHER_PROCESS, "another process's memory"),
            rule(Verdict::Kill, BOTH, call!(SYS_process_vm_writev), OTHER_PROCESS, "another process's memory"),
        ]
    };
}

const OTHER_PROCESS: &[Case] = &[case("other process", &[check(0, Test::OtherProcess)])];

pub(super) const RULES: &[Rule] = fatal! {
    "another process's memory, registers or descriptors":
        SYS_ptrace, SYS_kcmp, SYS_pidfd_getfd;
    "another program in this process's place":
        SYS_execve, SYS_execveat;
    "a way out of the namespaces, or privileges in new ones":
        SYS_setns, SYS_unshare, SYS_chroot, SYS_pivot_root;
    "the tree of mounts":
        SYS_mount, SYS_umount2, SYS_move_mount, SYS_open_tree, SYS_mount_setattr, SYS_fsopen, SYS_fsconfig,
        SYS_fsmount, SYS_fspick;
    "opens files without their names, past the root directory":
        SYS_open_by_handle_at, SYS_name_to_handle_at;
    "code in the kernel, or another kernel":
        SYS_bpf, SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_kexec_load, SYS_kexec_file_load;
    "large and often attacked parts of the kernel that nothing here uses":
        SYS_userfaultfd, SYS_perf_event_open, SYS_keyctl, SYS_add_key, SYS_request_key;
    "the machine as a whole":
        SYS_reboot, SYS_swapon, SYS_swapoff, SYS_acct, SYS_quotactl, SYS_syslog, SYS_sethostname,
        SYS_setdomainname, SYS_settimeofday, SYS_clock_settime;
    "ports and segments of the processor":
        #[cfg(target_arch = "x86_64")] SYS_ioperm,
        #[cfg(target_arch = "x86_64")] SYS_iopl,
        #[cfg(target_arch = "x86_64")] SYS_modify_ldt;
};
