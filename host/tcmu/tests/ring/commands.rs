//! Taking and completing commands.

use lunbox_memory::Extent;
use lunbox_tcmu::{CDB_MAX, Refused, Request, Response, RingError};

use crate::kernel::{Command, Kernel, OOO, RING, take};

#[test]
fn a_command_arrives_as_it_was_sent() {
    let mut kernel = Kernel::new(8192);
    let mut ring = kernel.attach();
    let mut request = Request::default();
    let start = kernel.data_start();
    for (id, cdb_length, data, bidi) in
        [(1, 6, 0, 0), (2, 16, 1, 0), (3, 32, 4, 0), (4, 260, 9, 3), (9, 12, 0, 1)]
    {
        let cdb: Vec<u8> = (1..=255).cycle().take(cdb_length).collect();
        let extents = |first: u64, count: u64| {
            (first..first + count).map(|i| Extent { offset: start + 4096 * i, length: 4096 - i }).collect()
        };
        let sent = Command { id, cdb, data: extents(0, data), bidi: extents(12, bidi) };
        kernel.try_queue(&sent).unwrap();

        let command = take(&mut ring, &mut request);
        assert_eq!(command.id(), id);
        assert_eq!(&request.cdb[..cdb_length], sent.cdb);
        assert!(request.cdb.len() < cdb_length + 8, "no more than alignment behind the CDB");
        assert!(request.cdb[cdb_length..].iter().all(|&byte| byte == 0));
        assert_eq!((&request.data, &request.bidi), (&sent.data, &sent.bidi));
        assert!(request.aborted.is_empty());
        ring.complete(command, &Response::default()).unwrap();
    }
    assert_eq!(kernel.collect().len(), 5);
}

#[test]
fn more_bytes_than_any_cdb_has_are_cut() {
    let mut kernel = Kernel::new(4096);
    let mut ring = kernel.attach();
    let cdb = vec![0x7f; 300];
    kernel.try_queue(&Command { id: 1, cdb, data: vec![], bidi: vec![] }).unwrap();
    let mut request = Request::default();
    take(&mut ring, &mut request).abandon();
    assert_eq!(request.cdb.as_bytes(), [0x7f; CDB_MAX]);
}

#[test]
fn vectors_are_reused() {
    let mut kernel = Kernel::new(4096);
    let mut ring = kernel.attach();
    let mut request = Request::default();
    let mut capacity = None;
    for round in 0..1000 {
        let data = vec![kernel.extent(); 8];
        kernel.try_queue(&Command { id: 1, cdb: vec![0; 10], data, bidi: vec![] }).unwrap();
        let command = take(&mut ring, &mut request);
        assert_eq!(request.data.len(), 8, "round {round}");
        assert_eq!(*capacity.get_or_insert(request.data.capacity()), request.data.capacity());
        ring.complete(command, &Response::default()).unwrap();
        kernel.collect();
    }
}

#[test]
fn completions_go_into_the_oldest_entry_in_any_order() {
    let mut kernel = Kernel::new(4096);
    let mut ring = kernel.attach();
    let mut request = Request::default();
    let mut commands: Vec<_> = (0..3)
        .map(|_| {
            kernel.queue();
            take(&mut ring, &mut request)
        })
        .collect();
    assert_eq!(ring.outstanding(), 3);
    for (index, status) in [(2, 0x28), (0, 0x08), (0, 0x02)] {
        let command = commands.remove(index);
        ring.complete(command, &Response { status, ..Response::default() }).unwrap();
        let answer = kernel.collect();
        assert_eq!(answer.len(), 1, "each completion frees one entry");
        assert_eq!(answer[0].status, status);
    }
    assert_eq!(ring.outstanding(), 0);
    assert!(kernel.live.is_empty());
    assert_eq!(kernel.tail(), kernel.head);
}

#[test]
fn sense_never_shows_what_the_request_left() {
    let mut kernel = Kernel::new(4096);
    let mut ring = kernel.attach();
    let mut request = Request::default();
    let long = [0xa5; 252];
    for sense in [None, Some(&long[..0]), Some(&long[..18]), Some(&long[..96]), Some(&long[..])] {
        // Vectors and CDB fill the entry with bytes that are not zero.
        let data = vec![Extent { offset: kernel.data_start() + 0x1111, length: 0x2222 }; 6];
        let cdb = vec![0xee; 16];
        let at = kernel.try_queue(&Command { id: 1, cdb: cdb.clone(), data, bidi: vec![] }).unwrap();
        let command = take(&mut ring, &mut request);
        ring.complete(command, &Response { status: 2, sense, ..Response::default() }).unwrap();

        let answer = kernel.collect().remove(0);
        let mut expected = [0; 96];
        let length = sense.map_or(0, |sense| sense.len().min(96));
        expected[..length].fill(0xa5);
        assert_eq!(answer.sense, expected);
        assert_eq!((answer.uflags, answer.read_len), (0, 0));
        let mut behind = [0; 16];
        kernel.map.load_bytes(at + 48 + 6 * 16, &mut behind).unwrap();
        assert_eq!(behind, *cdb, "nothing is written behind the sense data");
    }
}

#[test]
fn read_len_is_told_only_to_a_kernel_that_asks() {
    for (flags, uflags, read_len) in [(15, 2, 1234), (OOO, 0, 0)] {
        let mut kernel = Kernel::with_flags(4096, flags);
        let mut ring = kernel.attach();
        kernel.queue();
        let command = take(&mut ring, &mut Request::default());
        ring.complete(command, &Response { read_len: Some(1234), ..Response::default() }).unwrap();
        let answer = kernel.collect().remove(0);
        assert_eq!((answer.uflags, answer.read_len), (uflags, read_len));
    }
}

#[test]
fn a_kept_buffer_is_flagged() {
    let mut kernel = Kernel::new(4096);
    let mut ring = kernel.attach();
    kernel.queue();
    let command = take(&mut ring, &mut Request::default());
    ring.complete(command, &Response { status: 8, keep_buf: true, ..Response::default() }).unwrap();
    assert_eq!(kernel.collect()[0].uflags, 4);
}

#[test]
fn a_buffer_that_the_kernel_would_not_keep_stays_with_its_command() {
    let mut kernel = Kernel::with_flags(4096, OOO);
    let mut ring = kernel.attach();
    kernel.queue();
    let command = take(&mut ring, &mut Request::default());
    let refused = ring.complete(command, &Response { keep_buf: true, ..Response::default() }).unwrap_err();
    let Refused::Failed { command, error: RingError::NotOffered { .. } } = refused else {
        panic!("{refused}");
    };
    assert_eq!((kernel.tail(), ring.outstanding()), (0, 1), "nothing was completed");
    ring.complete(command, &Response::default()).unwrap();
    assert_eq!(kernel.collect().len(), 1);
}

#[test]
fn a_command_of_another_ring_is_refused() {
    let (mut a, mut b) = (Kernel::new(4096), Kernel::new(4096));
    let (mut ring_a, mut ring_b) = (a.attach(), b.attach());
    let mut request = Request::default();
    a.queue();
    a.queue();
    b.queue();
    take(&mut ring_a, &mut request).abandon();
    let of_a = take(&mut ring_a, &mut request);
    let of_b = take(&mut ring_b, &mut request);
    match ring_b.complete(of_a, &Response::default()).unwrap_err() {
        Refused::Failed { command, error: RingError::NotOutstanding { id: 2 } } => command.abandon(),
        other => panic!("{other}"),
    }
    ring_b.complete(of_b, &Response::default()).unwrap();
    assert_eq!(b.collect().len(), 1);
}

#[test]
fn what_is_written_over_consumed_entries_misdirects_nothing() {
    let mut kernel = Kernel::new(4096);
    let mut ring = kernel.attach();
    let mut request = Request::default();
    let (_, at) = kernel.queue();
    kernel.queue();
    let (first, second) = (take(&mut ring, &mut request), take(&mut ring, &mut request));
    kernel.map.store_u32(at, 8 | 1).unwrap();
    ring.complete(first, &Response::default()).unwrap();
    assert_eq!(
        u64::from(kernel.tail()),
        at - RING + 120,
        "by the length that was copied, not the present one"
    );
    ring.complete(second, &Response::default()).unwrap();
    assert_eq!(kernel.tail(), kernel.head);
}
