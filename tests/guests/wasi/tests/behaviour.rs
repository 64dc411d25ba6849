//! What can be told without Wasm: where the triggers are, and good manners elsewhere.

use lunbox_harness::{Harness, MemStore};
use lunbox_test_wasi::*;

const SIZE: u64 = 1 << 20;

#[test]
fn triggers_are_found_where_they_are_announced_and_nowhere_else() {
    let known: Vec<u64> = (1..=16).chain(20..=22).collect();
    for trigger in 0..64 {
        let place = trigger_offset(SIZE, trigger).expect("the device is large enough");
        assert_eq!(trigger_at(SIZE, place), known.contains(&trigger).then_some(trigger), "trigger {trigger}");
        if let Some(beside) = place.checked_sub(512) {
            assert_eq!(trigger_at(SIZE, beside), None, "beside trigger {trigger}");
        }
    }
    assert_eq!(trigger_offset(4096, 2), None, "a small device has few triggers");
}

#[test]
fn elsewhere_it_behaves_like_a_file() {
    let contents = vec![0; usize::try_from(SIZE).expect("small")];
    let mut disk =
        Harness::<Wasi>::setup(SIZE).store(MemStore::with_contents(contents)).start().expect("starts");
    disk.write(8192, &[0xee; 4096]).unwrap().good().unwrap();
    assert_eq!(disk.stores()[0].contents()[8192..12288], [0xee; 4096]);
}
