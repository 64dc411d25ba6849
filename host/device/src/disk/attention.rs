//! Unit attentions: news that initiators hear before anything else (SAM-5 5.14).
//!
//! The standard keeps them for each initiator. The ring does not say which one a command came from, so here each is
//! told once, to whoever comes first.

use lunbox_scsi::Sense;

/// News that nobody has heard yet, oldest first.
#[derive(Debug, Default)]
pub(super) struct Attentions {
    pending: Vec<Sense>,
}

impl Attentions {
    pub(super) const fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Remembers news. What waits to be told already is not told twice, so there are never more than kinds of news.
    pub(super) fn add(&mut self, sense: Sense) {
        if !self.pending.contains(&sense) {
            self.pending.push(sense);
        }
    }

    /// The oldest news; told with this.
    pub(super) fn take(&mut self) -> Option<Sense> {
        (!self.pending.is_empty()).then(|| self.pending.remove(0))
    }
}
