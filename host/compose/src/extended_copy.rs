//! EXTENDED COPY (SPC-4, LID1) within the unit: segment after segment is read and written.

use lunbox_scsi::list::extended_copy::Segment as CopySegment;
use lunbox_scsi::{Sense, SenseKey};

use crate::span::{Span, ask_all, check_start};
use crate::{Composite, Facts, Failure, Io, Next, Verb, Verdict, Where};

/// A/00/00: a segment can not be copied as it is described. Errors of segments are COPY ABORTED, not ILLEGAL REQUEST
/// (SPC-4, errors detected during processing of segment descriptors).
const SEGMENT_FAILED: Sense = Sense::new(SenseKey::CopyAborted, 0x00, 0x00);

/// EXTENDED COPY whose parameter list was found right, and names this unit only.
///
/// Others may use the medium meanwhile, as beside so many reads and writes (SPC-4 asks for no more). Held alone, two
/// copies of which each reads what the other one writes would wait for each other for ever.
#[derive(Debug)]
pub struct ExtendedCopy {
    segments: Vec<Segment>,
    /// Which one is copied.
    at: usize,
    /// Bytes of it that were copied.
    done: u64,
    begun: bool,
    stage: Stage,
    facts: Facts,
    wave: u64,
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    source: Span,
    destination: Span,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Start,
    Reading,
    Writing,
}

impl Segment {
    /// What comes next, of both sides. If the destination begins within the source, the end goes first, so that nothing
    /// is overwritten that is still to be read.
    fn part(self, done: u64, wave: u64) -> (Span, Span) {
        let length = wave.min(self.source.length - done);
        let backwards =
            self.destination.offset > self.source.offset && self.destination.offset < self.source.end();
        let from = if backwards { self.source.length - done - length } else { done };
        (self.source.part(from, length), self.destination.part(from, length))
    }
}

impl ExtendedCopy {
    /// Copies the segments in their order.
    ///
    /// # Errors
    /// A/00/00 if a segment does not lie on the medium; nothing is copied then.
    pub fn new(facts: &Facts, segments: &[CopySegment]) -> Result<Self, Sense> {
        let segments = segments
            .iter()
            .map(|segment| {
                Ok(Segment {
                    source: facts.span(segment.source, segment.blocks).map_err(|_| SEGMENT_FAILED)?,
                    destination: facts
                        .span(segment.destination, segment.blocks)
                        .map_err(|_| SEGMENT_FAILED)?,
                })
            })
            .collect::<Result<Vec<_>, Sense>>()?;
        Ok(Self {
            segments,
            at: 0,
            done: 0,
            begun: false,
            stage: Stage::Start,
            facts: *facts,
            wave: facts.wave(),
        })
    }

    /// How the command ends when a step of a segment failed (SPC-4, errors detected during processing of segment
    /// descriptors).
    fn failed(&self, failure: Failure) -> Verdict {
        match failure {
            // A full or write-protected unit must be recognised as such: initiators wait for space, or go read-only.
            Failure::Check(sense) if sense.key != SenseKey::DataProtect => {
                let left = self.segments.get(self.at).map_or(0, |segment| segment.source.length - self.done);
                let sense = Sense::THIRD_PARTY_DEVICE_FAILURE
                    .with_information(left / u64::from(self.facts.block_size).max(1));
                Verdict::Check(sense, None)
            }
            other => other.into(),
        }
    }
}

impl Composite for ExtendedCopy {
    fn work(&self) -> u64 {
        self.segments.iter().map(|segment| segment.source.length).max().unwrap_or(0).min(self.wave)
    }

    fn next(&mut self, last: Result<(), Failure>, io: &mut dyn Io) -> Next {
        if let Err(failure) = last {
            return Next::End(self.failed(failure));
        }
        if !std::mem::replace(&mut self.begun, true) {
            let all = self.segments.iter().flat_map(|segment| [segment.source, segment.destination]);
            for span in all {
                if span.end() > io.facts().size {
                    // A resize came in between.
                    return Next::End(Verdict::Check(SEGMENT_FAILED, None));
                }
                if let Err(verdict) = check_start(io, &self.facts, span, !span.is_empty()) {
                    return Next::End(verdict);
                }
            }
        }
        while let Some(segment) = self.segments.get(self.at).copied() {
            let (source, destination) = segment.part(self.done, self.wave);
            match self.stage {
                Stage::Reading => {
                    let fua = io.facts().write_through;
                    ask_all(io, Verb::Write, destination, Where::Work(0), fua);
                    self.stage = Stage::Writing;
                    return Next::Wait;
                }
                Stage::Writing => {
                    self.done += destination.length;
                    self.stage = Stage::Start;
                }
                Stage::Start if source.is_empty() => {
                    self.at += 1;
                    self.done = 0;
                }
                Stage::Start => {
                    ask_all(io, Verb::Read, source, Where::Work(0), false);
                    self.stage = Stage::Reading;
                    return Next::Wait;
                }
            }
        }
        Next::End(Verdict::Good)
    }
}
