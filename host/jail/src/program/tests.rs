//! Runs compiled programs on an interpreter and compares with what the policy says in words.

use super::*;
use crate::Profile;
use crate::policy;

const ARCH: u32 = 0xc000_003e;
const PID: u32 = 4321;

/// One call as a filter sees it: number, architecture, lower halves of the arguments.
struct Seen {
    number: u32,
    architecture: u32,
    arguments: [u32; 6],
}

fn run(program: &[sock_filter], seen: &Seen) -> u32 {
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let instruction = &program[at];
        at += 1;
        let k = instruction.k;
        let choose = |met: bool| usize::from(if met { instruction.jt } else { instruction.jf });
        match instruction.code {
            code::LOAD => {
                accumulator = match k {
                    NUMBER => seen.number,
                    ARCHITECTURE => seen.architecture,
                    _ => seen.arguments[usize::try_from((k - ARGUMENTS) / ARGUMENT_BYTES).unwrap()],
                }
            }
            code::AND => accumulator &= k,
            code::JUMP => at += usize::try_from(k).unwrap(),
            code::JUMP_IF_EQUAL => at += choose(accumulator == k),
            code::JUMP_IF_AT_LEAST => at += choose(accumulator >= k),
            code::RETURN => return k,
            other => panic!("code {other:#x} at {at}"),
        }
    }
}

fn fits(rule: &Rule, arguments: &[u32; 6]) -> bool {
    let holds = |check: &Check| {
        let argument = arguments[usize::from(check.argument)];
        match check.test {
            Test::Equals(value) => argument == value,
            Test::Bits { mask, value } => argument & mask == value,
            Test::OwnProcess => argument == PID,
            Test::OtherProcess => argument != PID,
        }
    };
    rule.cases.is_empty() || rule.cases.iter().any(|case| case.checks.iter().all(holds))
}

fn expected(rules: &[&Rule], number: u32, arguments: &[u32; 6]) -> u32 {
    let fitting = |verdict| {
        rules.iter().any(|rule| {
            rule.verdict == verdict
                && u32::try_from(rule.call.number()) == Ok(number)
                && fits(rule, arguments)
        })
    };
    if fitting(Verdict::Kill) {
        libc::SECCOMP_RET_KILL_PROCESS
    } else if fitting(Verdict::Absent) {
        libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned()
    } else if fitting(Verdict::Allow) {
        libc::SECCOMP_RET_ALLOW
    } else {
        libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned()
    }
}

/// Values at which some check of the policy changes its mind.
fn values(rules: &[&Rule]) -> Vec<u32> {
    let mut values = vec![0, 1, PID, PID - 1, u32::MAX];
    for check in rules.iter().flat_map(|rule| rule.cases).flat_map(|case| case.checks) {
        match check.test {
            Test::Equals(value) => values.extend([value, value ^ 1, value | 1 << 31]),
            Test::Bits { mask, value } => {
                values.extend([value, value | !mask, !value]);
                values.extend((0..32).map(|bit| value ^ 1 << bit));
            }
            Test::OwnProcess | Test::OtherProcess => {}
        }
    }
    values.sort_unstable();
    values.dedup();
    values
}

#[test]
fn a_program_says_what_the_policy_says() {
    for profile in [Profile::Worker, Profile::Compiler] {
        let rules: Vec<_> = policy::rules(profile).collect();
        let program = compile(&rules, ARCH, PID);
        let values = values(&rules);
        for number in 0..1000 {
            for &value in &values {
                // All arguments alike, and each alone beside the level of socket options.
                let mut tried = vec![[value; 6]];
                tried.extend((0..6).map(|index| {
                    let mut arguments = [libc::SOL_SOCKET.cast_unsigned(); 6];
                    arguments[index] = value;
                    arguments
                }));
                for arguments in tried {
                    let verdict = run(&program, &Seen { number, architecture: ARCH, arguments });
                    let expected = expected(&rules, number, &arguments);
                    assert_eq!(verdict, expected, "{profile:?}: call {number} with {arguments:?}");
                }
            }
        }
    }
}

#[test]
fn foreign_calls_are_killed() {
    let rules: Vec<_> = policy::rules(Profile::Worker).collect();
    let program = compile(&rules, ARCH, PID);
    for (number, architecture) in [(0, ARCH ^ 0x8000_0000), (0, 0), (X32_BIT, ARCH), (u32::MAX, ARCH)] {
        let verdict = run(&program, &Seen { number, architecture, arguments: [0; 6] });
        assert_eq!(verdict, libc::SECCOMP_RET_KILL_PROCESS, "{number:#x} of {architecture:#x}");
    }
}

#[test]
fn no_rules_refuse_everything() {
    let program = compile(&[], ARCH, PID);
    let verdict = run(&program, &Seen { number: 1, architecture: ARCH, arguments: [0; 6] });
    assert_eq!(verdict, libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned());
}
