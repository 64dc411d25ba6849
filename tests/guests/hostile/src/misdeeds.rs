//! What ends an instance.

use std::hint::black_box;

/// Never returns and does nothing; a loop that the compiler can not remove.
pub(crate) fn endless_loop() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

/// Panics: in a component the SDK's hook tells the host where, then the instance traps.
pub(crate) fn trap() -> ! {
    panic!("the test asked for a trap");
}

/// Takes and touches memory until there is none.
pub(crate) fn take_all_memory() -> ! {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        hoard.push(vec![0xff; 1 << 20]);
        black_box(&hoard);
    }
}

/// Calls itself until the stack ends. The answer would be a buffer number, so that the calls can not be removed.
pub(crate) fn recurse() -> u32 {
    descend(black_box(1))
}

#[inline(never)]
fn descend(depth: u32) -> u32 {
    // Always false; the compiler can not know.
    if black_box(depth) == 0 {
        return 0;
    }
    // The addition after the call keeps it from being turned into a loop.
    descend(depth | 1).wrapping_add(black_box(depth))
}
