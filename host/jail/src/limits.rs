//! Resource limits (setrlimit(2)).

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, rlim_t, setrlimit};
use nix::sys::stat::{Mode, umask};

use crate::error::Missing;

/// Seconds of CPU time between SIGXCPU, which ends the process unless it is caught, and SIGKILL.
const CPU_GRACE: rlim_t = 1;

/// `OOM_SCORE_ADJ_MAX` of include/uapi/linux/oom.h.
const OOM_SCORE_MOST: i32 = 1000;

/// How much of the machine the process may use. Core dumps are always off: a dump would hold users' data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessLimits {
    /// Descriptors (RLIMIT_NOFILE).
    pub open_files: u64,
    /// Bytes of address space (RLIMIT_AS). Reserved memory counts, and a Wasm instance reserves gigabytes.
    pub address_space: Option<u64>,
    /// Seconds of CPU time in the process's whole life (RLIMIT_CPU); then it is killed.
    pub cpu_seconds: Option<u64>,
    /// Bytes that a file can be extended to (RLIMIT_FSIZE). Block devices and pipes are not files here.
    pub file_size: Option<u64>,
}

/// Sets them, soft and hard alike, so that the process can not raise them again. A limit above the hard limit that
/// stands is not to be had without CAP_SYS_RESOURCE: the lower one is kept.
pub(crate) fn set(limits: &ProcessLimits) -> Result<(), Missing> {
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    lower(Resource::RLIMIT_CORE, 0, 0, "setrlimit(RLIMIT_CORE)")?;
    lower(Resource::RLIMIT_NOFILE, limits.open_files, limits.open_files, "setrlimit(RLIMIT_NOFILE)")?;
    if let Some(bytes) = limits.address_space {
        lower(Resource::RLIMIT_AS, bytes, bytes, "setrlimit(RLIMIT_AS)")?;
    }
    if let Some(seconds) = limits.cpu_seconds {
        let last = seconds.saturating_add(CPU_GRACE);
        lower(Resource::RLIMIT_CPU, seconds, last, "setrlimit(RLIMIT_CPU)")?;
    }
    if let Some(bytes) = limits.file_size {
        lower(Resource::RLIMIT_FSIZE, bytes, bytes, "setrlimit(RLIMIT_FSIZE)")?;
    }
    Ok(())
}

/// Has the kernel end this process before others when memory runs out: `sooner` is added to the `oom_score_adj` that it
/// was started with (proc(5): thousandths of the machine's memory; 1000 is the end of the scale). The jailed process can
/// not take it back. Does nothing but warn where `/proc` is missing.
pub fn offer_to_oom_killer(sooner: u16) {
    const FILE: &str = "/proc/self/oom_score_adj";
    let raised = std::fs::read_to_string(FILE).and_then(|text| {
        let now: i32 = text.trim().parse().map_err(std::io::Error::other)?;
        std::fs::write(FILE, now.saturating_add(sooner.into()).min(OOM_SCORE_MOST).to_string())
    });
    if let Err(error) = raised {
        tracing::warn!("{FILE}: {error}; when memory runs out, the kernel may end another process first");
    }
}

fn lower(resource: Resource, soft: rlim_t, hard: rlim_t, step: &'static str) -> Result<(), Missing> {
    match setrlimit(resource, soft, hard) {
        Err(nix::Error::EPERM) => {
            let (_, standing) = getrlimit(resource).map_err(Missing::call(step))?;
            let shown: &dyn std::fmt::Display =
                if standing == RLIM_INFINITY { &"unlimited" } else { &standing };
            tracing::warn!(
                "{step}: {soft} is above the hard limit of {shown}, which is kept; raise the limit of the service"
            );
            setrlimit(resource, soft.min(standing), standing).map_err(Missing::call(step))
        }
        other => other.map_err(Missing::call(step)),
    }
}
