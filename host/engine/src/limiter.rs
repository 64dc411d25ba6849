//! Counts what an instance allocates.

use wasmtime::ResourceLimiter;

use crate::Limits;
use crate::fault::Stop;

/// The limits on memory and tables of one instance. Going beyond them ends the instance instead of failing the
/// allocation: a guest allocator turns the failure into an abort whose reason nobody would see.
#[derive(Debug)]
pub(crate) struct Limiter {
    memory: Account,
    table: Account,
    instances: usize,
}

impl Limiter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            memory: Account::new(limits.memory_bytes),
            table: Account::new(limits.table_elements),
            instances: limits.instances,
        }
    }
}

/// The sum over all memories, or all tables, of an instance.
#[derive(Debug)]
struct Account {
    used: u64,
    limit: u64,
    /// Growth that was granted last: taken back if the system refuses it.
    granted: u64,
}

impl Account {
    const fn new(limit: u64) -> Self {
        Self { used: 0, limit, granted: 0 }
    }

    /// Grants growth from `current` to `desired`, or says how much the sum would have been.
    fn grow(&mut self, current: usize, desired: usize) -> Result<(), u64> {
        let growth = u64::try_from(desired.saturating_sub(current)).unwrap_or(u64::MAX);
        let wanted = self.used.saturating_add(growth);
        if wanted > self.limit {
            return Err(wanted);
        }
        self.used = wanted;
        self.granted = growth;
        Ok(())
    }

    const fn take_back(&mut self) {
        self.used = self.used.saturating_sub(self.granted);
        self.granted = 0;
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // Beyond the guest's own maximum the growth fails by itself.
        if maximum.is_some_and(|maximum| desired > maximum) {
            self.memory.granted = 0;
            return Ok(false);
        }
        self.memory
            .grow(current, desired)
            .map_err(|wanted| Stop::Memory { wanted, limit: self.memory.limit })?;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.memory.take_back();
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            self.table.granted = 0;
            return Ok(false);
        }
        self.table
            .grow(current, desired)
            .map_err(|wanted| Stop::Table { wanted, limit: self.table.limit })?;
        Ok(true)
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.table.take_back();
        Ok(())
    }

    fn instances(&self) -> usize {
        self.instances
    }

    fn tables(&self) -> usize {
        self.instances
    }

    fn memories(&self) -> usize {
        self.instances
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter() -> Limiter {
        Limiter::new(&Limits { memory_bytes: 3 << 16, table_elements: 10, ..Limits::default() })
    }

    #[test]
    fn memories_are_counted_together() {
        let mut limiter = limiter();
        assert!(limiter.memory_growing(0, 1 << 16, None).unwrap());
        assert!(limiter.memory_growing(0, 1 << 16, None).unwrap());
        assert!(limiter.memory_growing(1 << 16, 2 << 16, None).unwrap());
        let error = limiter.memory_growing(1 << 16, 2 << 16, None).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(Stop::Memory { wanted: 0x4_0000, limit: 0x3_0000 })));
    }

    #[test]
    fn growth_that_the_system_refused_is_not_counted() {
        let mut limiter = limiter();
        assert!(limiter.memory_growing(0, 3 << 16, None).unwrap());
        limiter.memory_grow_failed(wasmtime::Error::msg("no pages")).unwrap();
        assert!(limiter.memory_growing(0, 3 << 16, None).unwrap());
    }

    #[test]
    fn the_guests_own_maximum_fails_softly() {
        let mut limiter = limiter();
        assert!(limiter.memory_growing(0, 1 << 16, Some(1 << 16)).unwrap());
        assert!(!limiter.memory_growing(1 << 16, 2 << 16, Some(1 << 16)).unwrap());
        limiter.memory_grow_failed(wasmtime::Error::msg("beyond the maximum")).unwrap();
        let error = limiter.memory_growing(1 << 16, 4 << 16, None).unwrap_err();
        assert!(error.is::<Stop>(), "the first page was not taken back");
        assert!(!limiter.table_growing(0, 5, Some(4)).unwrap());
        let error = limiter.table_growing(0, 11, None).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(Stop::Table { wanted: 11, limit: 10 })));
    }
}
