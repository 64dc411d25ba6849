//! Entries that contradict the rules stop the device, by name, and touch nothing.

use lunbox_memory::Extent;
use lunbox_tcmu::{Request, Response, RingError};

use crate::kernel::{Command, Kernel, take};

/// Queues a sound command with two vectors, spoils it, and says what is found wrong.
fn found(spoil: impl Fn(&Kernel, u64)) -> &'static str {
    let mut kernel = Kernel::new(4096);
    let mut ring = kernel.attach();
    let mut request = Request::default();
    let (_, before) = kernel.queue();
    let sound = take(&mut ring, &mut request);
    assert_eq!(before, 128);
    let data = vec![kernel.extent(); 2];
    let at = kernel.try_queue(&Command { id: 2, cdb: vec![0; 16], data, bidi: vec![] }).unwrap();
    spoil(&kernel, at);
    let first = ring.next(&mut request).unwrap_err();
    assert_eq!(ring.next(&mut request).unwrap_err().to_string(), first.to_string(), "it stays so");
    assert_eq!(ring.outstanding(), 1);
    // What was taken before can still be answered.
    ring.complete(sound, &Response::default()).unwrap();
    assert_eq!(kernel.collect().len(), 1);
    match first {
        RingError::Inconsistent { field, .. } => field,
        other => panic!("{other}"),
    }
}

fn word(offset: u64, value: u32) -> impl Fn(&Kernel, u64) {
    move |kernel, at| kernel.map.store_u32(at + offset, value).unwrap()
}

fn long(offset: u64, value: u64) -> impl Fn(&Kernel, u64) {
    move |kernel, at| kernel.map.store_u64(at + offset, value).unwrap()
}

#[test]
fn lengths() {
    assert_eq!(found(word(0, 0)), "len_op", "zero length would never end");
    assert_eq!(found(word(0, 1)), "len_op");
    assert_eq!(found(word(0, 104 | 1)), "len_op", "command below its fixed part");
    assert_eq!(found(word(0, 24 | 2)), "len_op", "notice below its fixed part");
    assert_eq!(found(word(0, 8192 | 1)), "len_op", "beyond the ring's end");
    assert_eq!(found(word(0, !7)), "len_op");
    assert_eq!(found(word(0, 136 | 1)), "len_op", "beyond cmd_head");
    assert_eq!(found(word(0, 136)), "len_op", "a PAD beyond cmd_head");
}

#[test]
fn ids() {
    let id = |id: u16| move |kernel: &Kernel, at: u64| kernel.map.store_u16(at + 4, id).unwrap();
    assert_eq!(found(id(0)), "cmd_id");
    assert_eq!(found(id(1)), "cmd_id", "outstanding already");
}

#[test]
fn counts() {
    assert_eq!(found(word(8, 6)), "iov_cnt + iov_bidi_cnt");
    assert_eq!(found(word(8, u32::MAX)), "iov_cnt + iov_bidi_cnt");
    assert_eq!(found(word(12, u32::MAX)), "iov_cnt + iov_bidi_cnt");
    assert_eq!(found(word(12, 4)), "iov_cnt + iov_bidi_cnt", "each fits, both do not");
    assert_eq!(found(word(16, 1)), "iov_dif_cnt");
}

#[test]
fn cdb_offsets() {
    for value in [0, 128, u64::MAX, 1 << 63] {
        assert_eq!(found(long(24, value)), "cdb_off");
    }
    assert_eq!(found(|kernel, at| kernel.map.store_u64(at + 24, at + 128).unwrap()), "cdb_off", "at its end");
    assert_eq!(
        found(|kernel, at| kernel.map.store_u64(at + 24, at + 72).unwrap()),
        "cdb_off",
        "in the vectors"
    );
}

#[test]
fn vectors() {
    let start = Kernel::new(4096).data_start();
    let end = start + crate::kernel::DATA;
    for value in [0, 128, start - 1, end + 1, u64::MAX] {
        assert_eq!(found(long(48, value)), "iov_base");
        assert_eq!(found(long(64, value)), "iov_base", "the second one too");
    }
    assert_eq!(found(long(56, crate::kernel::DATA + 1)), "iov_len");
    assert_eq!(found(long(56, u64::MAX)), "iov_len", "would wrap");
    assert_eq!(found(long(72, u64::MAX - start + 1)), "iov_len", "sum is 0");
}

#[test]
fn a_vector_may_fill_the_data_area() {
    let mut kernel = Kernel::new(4096);
    let mut ring = kernel.attach();
    let whole = Extent { offset: kernel.data_start(), length: crate::kernel::DATA };
    kernel.try_queue(&Command { id: 1, cdb: vec![0; 6], data: vec![whole], bidi: vec![whole] }).unwrap();
    let mut request = Request::default();
    take(&mut ring, &mut request).abandon();
    assert_eq!((request.data, request.bidi), (vec![whole], vec![whole]));
}

#[test]
fn a_bidirectional_vector_outside() {
    let spoil = |kernel: &Kernel, at: u64| {
        kernel.map.store_u32(at + 8, 1).unwrap();
        kernel.map.store_u32(at + 12, 1).unwrap();
        kernel.map.store_u64(at + 64, 64).unwrap();
    };
    assert_eq!(found(spoil), "iov_base");
}

#[test]
fn notices_with_more_ids_than_they_hold() {
    let spoil = |count| {
        move |kernel: &Kernel, at: u64| {
            kernel.map.store_u32(at, 40 | 2).unwrap();
            kernel.map.store_u32(at + 12, count).unwrap();
        }
    };
    assert_eq!(found(spoil(5)), "cmd_cnt");
    assert_eq!(found(spoil(u32::MAX)), "cmd_cnt");
}

#[test]
fn heads() {
    for value in [4096, 12, u32::MAX] {
        assert_eq!(found(move |kernel, _| kernel.map.store_u32(12, value).unwrap()), "cmd_head");
    }
}

#[test]
fn the_message_says_what_where_and_what_to_do() {
    let mut kernel = Kernel::new(4096);
    let mut ring = kernel.attach();
    let (_, at) = kernel.queue();
    kernel.map.store_u64(at + 24, 0xdead_0000).unwrap();
    let message = ring.next(&mut Request::default()).unwrap_err().to_string();
    for part in ["cdb_off", "0x98", "0xdead0000", "reset_ring"] {
        assert!(message.contains(part), "{part} in: {message}");
    }
}
