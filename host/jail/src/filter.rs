//! Makes the policy a filter of the kernel (seccomp(2)) and installs it.

use nix::unistd::getpid;

use crate::Profile;
use crate::error::Missing;
use crate::policy::{self, Rule};
use crate::program::compile;

/// What the kernel calls the architecture in a filter: `AUDIT_ARCH_*` of include/uapi/linux/audit.h.
const ARCHITECTURE: Option<u32> = if cfg!(target_arch = "x86_64") {
    Some(0xc000_003e)
} else if cfg!(target_arch = "aarch64") {
    Some(0xc000_00b7)
} else {
    None
};

/// `BPF_MAXINSNS` of include/uapi/linux/bpf_common.h.
const LONGEST: usize = 4096;

/// Installs the filter of a profile for the calling thread and those that it starts. Rules for the calls in
/// `without` are left out.
pub(crate) fn install(profile: Profile, without: &[&str]) -> Result<(), Missing> {
    let Some(architecture) = ARCHITECTURE else {
        let text = format!("the policy is not made for {}", std::env::consts::ARCH);
        return Err(Missing::Text { step: "making a filter", text });
    };
    let pid = u32::try_from(getpid().as_raw()).expect("a process id is positive");
    let rules: Vec<&Rule> =
        policy::rules(profile).filter(|rule| !without.contains(&rule.call.name())).collect();
    let program = compile(&rules, architecture, pid);
    if program.len() > LONGEST {
        let text = format!("{} instructions are too many", program.len());
        return Err(Missing::Text { step: "making a filter", text });
    }
    seccompiler::apply_filter(&program).map_err(Missing::text("installing a filter"))
}
