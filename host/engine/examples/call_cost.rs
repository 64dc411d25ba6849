//! Prints what a call into a handler costs: `cargo run --release -p lunbox-engine --example call_cost -- handler.wasm`.
//!
//! CPU time of the thread per call, for the `file` handler native and in the sandbox. On a loaded machine trust the
//! minima and the ratios: the medians are its neighbours'.

use std::cell::RefCell;
use std::error::Error;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use lunbox_contract::{
    BlockCommand, BlockKind, BufferError, BufferId, Buffers, DeviceConfig, Outcome, StoreInfo, Tag,
};
use lunbox_engine::native::NativeFactory;
use lunbox_engine::{Engine, EngineOptions, Handler, HandlerFactory, Limits};
use nix::time::{ClockId, clock_gettime};

/// Samples of each call, taken in turn, so that all of them see the same machine.
const SAMPLES: usize = 500;
/// Calls per sample: well below the 10 ms of a tick.
const CALLS: u32 = 2_000;

type Sample = fn(&mut dyn Handler) -> Result<u128, Box<dyn Error>>;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("name the component of the file handler")?;
    let path = Path::new(&path);
    let engine = Engine::new(EngineOptions::default())?;
    let component = engine.load(path)?;
    let native = NativeFactory::<lunbox_handler_file::File>::new();
    let factories: [&dyn HandlerFactory; 2] = [&native, &component];
    let calls: [(&str, Sample); 2] =
        [("cancel, an empty call", sample_cancel), ("READ, answered io", sample_read)];

    let mut rows = Vec::new();
    for (factory, form) in factories.into_iter().zip(["native", "component"]) {
        for (call, sample) in calls {
            let mut handler =
                factory.instantiate("bench", Rc::new(RefCell::new(NoBuffers)), &Limits::default())?;
            handler.configure(&config())??;
            rows.push((form, call, sample, handler, Vec::with_capacity(SAMPLES)));
        }
    }
    for _ in 0..SAMPLES {
        for (_, _, sample, handler, samples) in &mut rows {
            samples.push(sample(handler.as_mut())?);
        }
    }
    println!("CPU ns per call              min  10 %  median");
    for (form, call, _, _, samples) in &mut rows {
        samples.sort_unstable();
        println!(
            "{form:<10}{call:<22}{:>5}{:>6}{:>8}",
            samples[0],
            samples[SAMPLES / 10],
            samples[SAMPLES / 2]
        );
    }
    start_up(path)
}

/// What it costs until a handler serves: wall time, best of some.
fn start_up(path: &Path) -> Result<(), Box<dyn Error>> {
    let cache = std::env::temp_dir().join(format!("call-cost-{}", std::process::id()));
    let plain = Engine::new(EngineOptions::default())?;
    let caching = Engine::new(EngineOptions { cache: Some(cache.clone()), ..EngineOptions::default() })?;
    let component = caching.load(path)?;
    let best =
        |rounds: u32, work: &dyn Fn() -> Result<(), Box<dyn Error>>| -> Result<Duration, Box<dyn Error>> {
            let mut best = Duration::MAX;
            for _ in 0..rounds {
                let start = Instant::now();
                work()?;
                best = best.min(start.elapsed());
            }
            Ok(best)
        };
    let load = |engine: &Engine| -> Result<(), Box<dyn Error>> {
        engine.load(path)?;
        Ok(())
    };
    println!("load, compiling           {:?}", best(5, &|| load(&plain))?);
    println!("load, from the cache      {:?}", best(50, &|| load(&caching))?);
    let open = || -> Result<(), Box<dyn Error>> {
        let buffers = Rc::new(RefCell::new(NoBuffers));
        component.instantiate("bench", buffers, &Limits::default())?.configure(&config())??;
        Ok(())
    };
    println!("instantiate and configure {:?}", best(500, &open)?);
    std::fs::remove_dir_all(cache)?;
    Ok(())
}

fn sample_cancel(handler: &mut dyn Handler) -> Result<u128, Box<dyn Error>> {
    let start = cpu_time()?;
    for call in 0..CALLS {
        handler.cancel(std::hint::black_box(Tag(u64::from(call))))?;
    }
    Ok((cpu_time()? - start).as_nanos() / u128::from(CALLS))
}

fn sample_read(handler: &mut dyn Handler) -> Result<u128, Box<dyn Error>> {
    let start = cpu_time()?;
    for call in 0..CALLS {
        let command = BlockCommand {
            tag: Tag(u64::from(call)),
            kind: BlockKind::Read,
            fua: false,
            offset: u64::from(call) << 12,
            length: 4096,
        };
        let outcome = handler.submit_block(std::hint::black_box(&command))?;
        if !matches!(std::hint::black_box(outcome), Outcome::Io(_)) {
            return Err("the handler answered no final operation".into());
        }
    }
    Ok((cpu_time()? - start).as_nanos() / u128::from(CALLS))
}

fn cpu_time() -> nix::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

fn config() -> DeviceConfig {
    let store = StoreInfo {
        option: String::new(),
        size: 1 << 30,
        read_only: false,
        discard_zeroes: true,
        can_grow: true,
        physical_block_size: 0,
        discard_granularity: 4096,
    };
    DeviceConfig {
        name: "bench".to_owned(),
        size: 1 << 30,
        block_size: 4096,
        read_only: false,
        max_transfer: 1 << 20,
        stores: vec![store],
        options: vec![],
    }
}

/// The file handler never asks for bytes.
struct NoBuffers;

impl Buffers for NoBuffers {
    fn take(&mut self, _: Tag, _: BufferId, _: u32, _: &mut [u8]) -> Result<(), BufferError> {
        Err(BufferError::UnknownTag)
    }

    fn put(&mut self, _: Tag, _: BufferId, _: u32, _: &[u8]) -> Result<(), BufferError> {
        Err(BufferError::UnknownTag)
    }
}
