use super::*;

#[test]
fn the_window_follows_what_has_ended() {
    let mut numbering = Numbering::new(10);
    assert_eq!((numbering.expected(), numbering.max()), (10, 137));
    for _ in 0..WINDOW {
        assert_eq!(numbering.turn(false, numbering.expected()), Turn::Now);
        numbering.advance();
        numbering.task_began();
        assert_eq!(numbering.max(), 137, "a running command keeps its place");
    }
    assert_eq!(numbering.turn(false, 138), Turn::Never, "the window is shut");
    assert_eq!(numbering.turn(true, 138), Turn::Now, "but not for immediate ones");
    numbering.task_ended();
    assert_eq!(numbering.max(), 138);
    assert_eq!(numbering.turn(false, 138), Turn::Now);
}

#[test]
fn numbers_wrap_around() {
    let mut numbering = Numbering::new(u32::MAX);
    assert_eq!(numbering.max(), 126);
    assert_eq!(numbering.turn(false, 126), Turn::Early);
    assert_eq!(numbering.turn(false, 127), Turn::Never);
    assert_eq!(numbering.turn(false, u32::MAX - 1), Turn::Never);
    numbering.advance();
    assert_eq!(numbering.expected(), 0);
}

#[test]
fn what_comes_early_is_held_once_and_follows_in_order() {
    let mut numbering = Numbering::new(5);
    for number in [7, 6] {
        assert_eq!(numbering.turn(false, number), Turn::Early);
        numbering.hold(number, Held::Void);
        assert_eq!(numbering.turn(false, number), Turn::Never, "it is held already");
    }
    assert!(numbering.next_held().is_none(), "5 is missing");
    numbering.advance();
    assert!(numbering.next_held().is_some() && numbering.next_held().is_some());
    assert!(numbering.next_held().is_none());
    assert_eq!(numbering.expected(), 8);
}

#[test]
fn only_what_is_missing_can_be_voided() {
    let mut numbering = Numbering::new(5);
    numbering.hold(6, Held::Void);
    assert!(!numbering.void(4, 9), "has come");
    assert!(!numbering.void(6, 9), "is held");
    assert!(!numbering.void(9, 9), "not before the function");
    assert!(numbering.void(5, 9));
    assert!(numbering.next_held().is_some(), "5 counts as come");
}

proptest::proptest! {
    /// Whatever order commands come in, each is let in once and in the order of its number.
    #[test]
    fn commands_are_let_in_once_and_in_order(
        start: u32,
        order in proptest::collection::vec(0u32..40, 0..200),
    ) {
        let mut numbering = Numbering::new(start);
        let mut let_in = Vec::new();
        for offset in order {
            let number = start.wrapping_add(offset);
            match numbering.turn(false, number) {
                Turn::Now => {
                    let_in.push(numbering.expected());
                    numbering.advance();
                }
                Turn::Early => numbering.hold(number, Held::Void),
                Turn::Never => {}
            }
            while let Some(expected) = Some(numbering.expected()) {
                if numbering.next_held().is_none() {
                    break;
                }
                let_in.push(expected);
            }
        }
        let wanted: Vec<u32> = (0..let_in.len()).map(|at| start.wrapping_add(u32::try_from(at).unwrap())).collect();
        proptest::prop_assert_eq!(let_in, wanted);
    }
}
