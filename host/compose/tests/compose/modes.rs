//! MODE SELECT.

use lunbox_compose::{Composite, Failure, Modes, Scope, SetModes, Verb, Verdict};
use lunbox_scsi::Sense;

use crate::fake::{Disk, Fault, facts};

const MODES: Modes = Modes { write_cache: false, software_write_protect: true, descriptor_sense: true };

#[test]
fn a_cache_is_emptied_before_it_is_switched_off() {
    for flush in [false, true] {
        let mut disk = Disk::new(facts(1 << 20));
        disk.volatile = true;
        let mut command = SetModes::new(&disk.facts, MODES, flush);
        assert_eq!(command.scope(), Scope::Alone { offset: 0, length: 1 << 20 });
        let set =
            Verdict::SetModes { write_cache: false, software_write_protect: true, descriptor_sense: true };
        assert_eq!(disk.run(&mut command, &[]), set);
        assert_eq!(disk.log.iter().filter(|ask| ask.verb == Verb::Flush).count(), usize::from(flush));
        assert_eq!(disk.volatile, !flush);
    }
}

#[test]
fn a_cache_that_can_not_be_emptied_stays_on() {
    let mut disk = Disk::new(facts(1 << 20));
    let failure = Failure::Check(Sense::WRITE_ERROR);
    disk.fault = Some(Fault::Step { at: 0, times: 1, failure });
    let mut command = SetModes::new(&disk.facts, MODES, true);
    assert_eq!(disk.run(&mut command, &[]), Verdict::Failed(failure));
}
