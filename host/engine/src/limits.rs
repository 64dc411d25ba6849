//! What one instance may use.

use std::time::Duration;

/// Limits of one instance. The defaults suit every handler of the project with room to spare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory in bytes, all memories of the instance together. Default 64 MiB: a qcow2 L2 cache for 8 TiB
    /// or the zone table of the largest drive on sale takes less than a tenth of it.
    pub memory_bytes: u64,
    /// Table elements (function pointers, 8 bytes each in the host), all tables together. Default 65,536: a Rust
    /// handler has some hundreds.
    pub table_elements: u64,
    /// Core instances, memories and tables that a component may consist of. Default 16: one module and its shims
    /// are three.
    pub instances: usize,
    /// CPU time of the calling thread per call. Default 50 ms: planning a command takes microseconds, and no
    /// initiator's time-out (30 s) is near even after many such calls, yet a device that spins is caught before
    /// anybody notices. Time that the thread waits for a CPU does not count. The guest is stopped between this
    /// and two ticks of the engine ([`crate::EngineOptions::tick`]) later.
    pub cpu_per_call: Duration,
    /// Wall time per call of a handler that imports WASI, and may therefore wait. Default 1 s: enough for a file
    /// operation on a slow disk, far below any initiator's time-out. While a call waits, its device waits. Without
    /// meaning for other handlers, which can not wait.
    pub wall_per_call: Duration,
    /// WASI handles that an instance may have at once: streams, pollables, files, directories. Default 1,024, which
    /// is what processes usually get for open files.
    pub wasi_resources: usize,
    /// Bytes that one call may carry across the border: `buffers.take`, `buffers.put`, a log line, an answer.
    /// Default 8 MiB, the longest transfer that the kernel's ring is usually set up for.
    pub hostcall_bytes: u32,
    /// Log lines per second in the long run. Default 100.
    pub log_lines_per_second: u32,
    /// Log lines at once. Default 100.
    pub log_burst: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            table_elements: 1 << 16,
            instances: 16,
            cpu_per_call: Duration::from_millis(50),
            wall_per_call: Duration::from_secs(1),
            wasi_resources: 1024,
            hostcall_bytes: 8 << 20,
            log_lines_per_second: 100,
            log_burst: 100,
        }
    }
}
