//! Answers that no SDK makes: every byte of an outcome is the guest's word.

#![allow(clippy::unwrap_used, reason = "helpers of tests may say what they expect, as tests may")]

mod support;

use std::borrow::Cow;

use lunbox_contract::{Outcome, Status};
use lunbox_engine::{Engine, Fault, Limits};
use lunbox_scsi::{Sense, SenseKey};
use support::forge::Forged;
use support::{assert_ended, engine, load, read, serving};

/// What comes of an outcome with this discriminant and this payload.
fn answer(engine: &Engine, discriminant: u8, payload: &[u8]) -> Result<Outcome, Fault> {
    let mut outcome = vec![discriminant, 0, 0, 0, 0, 0, 0, 0];
    outcome.extend_from_slice(payload);
    let component = load(engine, &Forged { outcome, ..Forged::default() }.component()).unwrap();
    let mut handler = serving(&component, &Limits::default());
    let answer = handler.submit_block(&read(1, 0));
    if answer.is_err() {
        assert_ended(handler.as_mut());
    }
    answer
}

fn contract(answer: Result<Outcome, Fault>) -> String {
    let Err(Fault::Contract(message)) = answer else { panic!("{answer:?} is no contract fault") };
    assert!(!message.contains('\n'));
    message
}

#[test]
fn honest_bytes_are_understood() {
    let engine = engine();
    assert_eq!(answer(&engine, 0, &[1]), Ok(Outcome::Done(Status::Busy)));
    let sense = Sense { key: SenseKey::MediumError, asc: 0x11, ascq: 0, information: Some(0x0102) };
    let payload = [3, 0x11, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0];
    assert_eq!(answer(&engine, 1, &payload), Ok(Outcome::Check(sense)));
}

#[test]
fn unknown_cases_are_refused() {
    let engine = engine();
    contract(answer(&engine, 5, &[]));
    contract(answer(&engine, 0xff, &[]));
    contract(answer(&engine, 0, &[5]));
    contract(answer(&engine, 2, &[9]));
}

#[test]
fn sense_keys_that_do_not_exist_are_refused() {
    let engine = engine();
    for key in [0x0c, 0x10, 0xff] {
        assert!(contract(answer(&engine, 1, &[key, 0, 0])).contains("sense key"));
    }
}

#[test]
fn not_handled_is_no_answer_to_a_block_command() {
    assert!(contract(answer(&engine(), 4, &[])).contains("not-handled"));
}

#[test]
fn lists_that_lie_outside_of_memory_are_refused() {
    let engine = engine();
    let list = |address: u32, length: u32| [address.to_le_bytes(), length.to_le_bytes()].concat();
    contract(answer(&engine, 3, &list(0xffff_fff8, 1)));
    contract(answer(&engine, 3, &list(65_536 - 40, 2)));
    contract(answer(&engine, 3, &list(4, 1)));
    assert!(contract(answer(&engine, 3, &list(0, 0))).contains("0 operations"));
    assert!(contract(answer(&engine, 3, &list(1024, 65))).contains("65 operations"));
}

#[test]
fn a_list_is_read_only_as_far_as_a_call_may_carry() {
    // 100,000 operations lie within the guest's memory, and would take 5 MB of the host's.
    let list = [2048_u32.to_le_bytes(), 100_000_u32.to_le_bytes()].concat();
    let outcome = [&[3, 0, 0, 0, 0, 0, 0, 0][..], &list].concat();
    let forged = Forged { outcome, pages: 128, ..Forged::default() };
    let component = load(&engine(), &forged.component()).unwrap();
    let mut handler = serving(&component, &Limits { hostcall_bytes: 1 << 16, ..Limits::default() });
    let message = contract(handler.submit_block(&read(1, 0)));
    assert!(!message.contains("operations"), "the list was read before it was counted: {message}");
}

#[test]
fn texts_that_are_no_text_are_refused() {
    let [_, name, version, help] = Forged::default().description;
    let description = [Cow::Borrowed(&b"\xff\xfe"[..]), name, version, help];
    let error = load(&engine(), &Forged { description, ..Forged::default() }.component()).unwrap_err();
    assert!(error.to_string().contains("utf-8"), "{error}");
}
