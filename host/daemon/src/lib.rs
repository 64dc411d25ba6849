//! `lunboxd`: finds TCM-User devices, has them served by workers, and answers the kernel.
//!
//! ```text
//!   kernel ══ netlink ══▶ control ── jobs ──▶ open ── policy, configfs, cfgstring, stores, fence
//!                            ▲                  │
//!                            │                  ▼
//!   lunbox ── socket ──▶ control_socket      device ── descriptors ──▶ workers ══ link ══▶ worker process
//!                            ▲                                           │                (one thread per LUN)
//!                            └──────────────── mailbox ◀───── notices ◀──┘
//! ```
//!
//! * [`control`] is the one thread that talks to the kernel. It never waits for a device.
//! * [`job`] is what may wait, on threads of its own; [`open`] is how a device is prepared for real, from the policy
//!   ([`lunbox_policy`]), configfs, its cfgstring ([`lunbox_grant`]) and a handler ([`handlers`]); [`device`] is what the
//!   supervisor keeps of it.
//! * [`identity`] is what configfs says of a LUN's names and target ports; [`foreign`] knows which subtypes other daemons serve, and [`watch`] has handlers loaded that come later.
//! * [`service`] is the border between the two, so that the control plane is tested without kernel and workers.
//! * [`workers`] starts, adopts and buries the processes that run the loops; [`compiler`] those that compile.
//! * [`control_socket`] answers operators from [`records`] and by asking the control thread and the workers;
//!   [`journal`] tells them what happens. [`statistics`] are what devices have done, [`metrics`] the same for Prometheus.
//! * [`supervisor`] puts it together; [`lock`] and [`module`] come before everything else; [`cli`] is the command
//!   line, [`list`] and [`preflight`] are two of its answers; [`settings`] is what it and tcmu.conf come to, and
//!   [`reload`] what happens when that file changes. [`open_files`] raises a limit.
//!
//! No machine code of a handler runs in this process, and no device loop, unless `--single-process` asks for it.

pub mod bus;
pub mod check;
pub mod cli;
pub mod compiler;
pub mod control;
pub mod control_socket;
pub mod device;
pub mod foreign;
pub mod handlers;
pub mod identity;
pub mod job;
pub mod journal;
pub mod list;
pub mod lock;
pub mod mailbox;
pub mod metrics;
pub mod module;
pub mod open;
pub mod open_files;
pub mod preflight;
pub mod records;
pub mod registry;
pub mod reload;
pub mod service;
pub mod settings;
pub mod statistics;
pub mod supervisor;
pub mod tenants;
pub mod watch;
pub mod workers;
