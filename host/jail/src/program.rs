//! Compiles rules to one program of the kernel's filter machine (classic BPF; include/uapi/linux/filter.h).
//!
//! seccompiler compiles rules, too, but to a chain that is walked call by call, with one verdict besides the
//! default, so that this policy took four filters. Calls whose arguments are looked at run through all of that
//! each time: more than 0.6 µs for process_vm_readv(2), which is in the way of commands, against less than 0.1 µs
//! with the search made here. (Calls that are allowed with any arguments the kernel remembers, and asks no filter.)

use nix::libc;
use seccompiler::sock_filter;

use crate::policy::{Case, Check, REFUSED, Rule, Test, Verdict};

/// System call numbers from here on are those of the x32 ABI (`__X32_SYSCALL_BIT`, arch/x86 uapi unistd.h), which
/// shows the architecture of x86_64. No other architecture has numbers that high.
const X32_BIT: u32 = 0x4000_0000;

// Offsets in struct seccomp_data (include/uapi/linux/seccomp.h). Arguments are 64 bits each; their lower halves come
// first on the little-endian machines that the policy is made for.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;
const ARGUMENT_BYTES: u32 = 8;

type Program = Vec<sock_filter>;

/// Codes of include/uapi/linux/bpf_common.h.
mod code {
    pub(super) const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    pub(super) const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
    pub(super) const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
    pub(super) const JUMP_IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    pub(super) const JUMP_IF_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
    pub(super) const RETURN: u16 = 0x06; // BPF_RET | BPF_K
}

fn plain(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

/// Continues `jt` or `jf` instructions after the next one.
fn branch(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// The program for these rules in a process of that number, on the architecture of that `AUDIT_ARCH_*` value. What
/// no rule is about is refused; another architecture is killed.
pub(crate) fn compile(rules: &[&Rule], architecture: u32, pid: u32) -> Program {
    let mut sorted: Vec<(u32, &Rule)> = rules
        .iter()
        .map(|rule| (u32::try_from(rule.call.number()).expect("call numbers are small and positive"), *rule))
        .collect();
    // Of two rules for one call the stricter is asked first.
    sorted.sort_by_key(|(number, rule)| (*number, strictness(rule.verdict)));
    let calls: Vec<&[(u32, &Rule)]> = sorted.chunk_by(|one, other| one.0 == other.0).collect();
    let kill = plain(code::RETURN, libc::SECCOMP_RET_KILL_PROCESS);
    let mut program = vec![
        plain(code::LOAD, ARCHITECTURE),
        branch(code::JUMP_IF_EQUAL, architecture, 1, 0),
        kill.clone(),
        plain(code::LOAD, NUMBER),
        branch(code::JUMP_IF_AT_LEAST, X32_BIT, 0, 1),
        kill,
    ];
    program.extend(search(&calls, pid));
    program
}

/// Finds the number by halving. Entered with the number loaded; every way through it ends in a verdict.
fn search(calls: &[&[(u32, &Rule)]], pid: u32) -> Program {
    let mut program = Vec::new();
    match calls {
        [] => program.push(refuse()),
        [rules] => {
            program.push(branch(code::JUMP_IF_EQUAL, rules[0].0, 1, 0));
            program.push(refuse());
            program.extend(rules.iter().flat_map(|(_, rule)| judge(rule, pid)));
            program.push(refuse());
        }
        _ => {
            let (low, high) = calls.split_at(calls.len() / 2);
            let below = search(low, pid);
            let over = u32::try_from(below.len()).expect("programs have some thousand instructions");
            program.push(branch(code::JUMP_IF_AT_LEAST, high[0][0].0, 0, 1));
            program.push(plain(code::JUMP, over));
            program.extend(below);
            program.extend(search(high, pid));
        }
    }
    program
}

fn strictness(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Kill => 0,
        Verdict::Absent => 1,
        Verdict::Allow => 2,
    }
}

/// Ends with the rule's verdict if one of its cases fits, and continues behind itself otherwise.
fn judge(rule: &Rule, pid: u32) -> Program {
    let verdict = plain(
        code::RETURN,
        match rule.verdict {
            Verdict::Allow => libc::SECCOMP_RET_ALLOW,
            Verdict::Absent => errno(libc::ENOSYS),
            Verdict::Kill => libc::SECCOMP_RET_KILL_PROCESS,
        },
    );
    match rule.cases {
        [] => vec![verdict],
        cases => cases.iter().flat_map(|case| compare(case, &verdict, pid)).collect(),
    }
}

/// Ends with the verdict if all checks hold, and continues behind itself otherwise.
fn compare(case: &Case, verdict: &sock_filter, pid: u32) -> Program {
    // Built from its end, as each check jumps over what follows.
    let mut program = vec![verdict.clone()];
    for check in case.checks.iter().rev() {
        let past = u8::try_from(program.len()).expect("a case has a few checks");
        let mut whole = test(check, pid, past);
        whole.extend(program);
        program = whole;
    }
    program
}

/// Continues behind itself if the check holds, and `past` instructions further otherwise.
fn test(check: &Check, pid: u32, past: u8) -> Program {
    let load = plain(code::LOAD, ARGUMENTS + ARGUMENT_BYTES * u32::from(check.argument));
    match check.test {
        Test::Equals(value) => vec![load, branch(code::JUMP_IF_EQUAL, value, 0, past)],
        Test::Bits { mask, value } => {
            vec![load, plain(code::AND, mask), branch(code::JUMP_IF_EQUAL, value, 0, past)]
        }
        Test::OwnProcess => vec![load, branch(code::JUMP_IF_EQUAL, pid, 0, past)],
        Test::OtherProcess => vec![load, branch(code::JUMP_IF_EQUAL, pid, past, 0)],
    }
}

fn refuse() -> sock_filter {
    plain(code::RETURN, errno(REFUSED))
}

fn errno(errno: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | errno.cast_unsigned() & libc::SECCOMP_RET_DATA
}

#[cfg(test)]
mod tests;
