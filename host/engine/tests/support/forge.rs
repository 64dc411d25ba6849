//! Components that no compiler makes: handlers whose answers are any bytes that a test likes.

use std::borrow::Cow;

use wasm_encoder::{
    BlockType, CanonicalOption, CodeSection, ComponentBuilder, ComponentExportKind, ComponentExportSection,
    ComponentImportSection, ComponentInstanceSection, ComponentSection as _, ComponentTypeRef,
    ComponentTypeSection, ComponentValType, ConstExpr, DataSection, ExportKind, ExportSection, Function,
    FunctionSection, GlobalSection, GlobalType, InstanceType, MemorySection, MemoryType, Module,
    PrimitiveValType, StartSection, TypeSection, ValType,
};

/// Where the answers stand in the guest's memory.
const DESCRIPTION: u64 = 64;
const DEVICE_INFO: u64 = 128;
const OUTCOME: u64 = 256;
const TEXTS: u64 = 512;
/// Where the host's arguments go.
const HEAP: i32 = 4096;

/// What a forged handler is like. [`Forged::default`] is an honest one.
#[derive(Clone, Debug)]
pub struct Forged {
    /// subtype, name, version, config-help.
    pub description: [Cow<'static, [u8]>; 4],
    /// The bytes of each outcome (canonical ABI): discriminant, seven bytes, payload.
    pub outcome: Vec<u8>,
    /// `describe` never returns.
    pub describe_loops: bool,
    /// `configure` never returns.
    pub configure_loops: bool,
    /// The module's start function never returns.
    pub start_loops: bool,
    /// Initial memory in pages of 64 KiB.
    pub pages: u64,
    /// An imported instance without functions.
    pub import: Option<&'static str>,
    /// `block.submit` returns a number instead of an outcome.
    pub wrong_type: bool,
    /// Interface names to export, each with the two interfaces' functions: (handler, block).
    pub interfaces: (&'static str, &'static str),
}

impl Default for Forged {
    fn default() -> Self {
        Self {
            description: [&b"forged"[..], b"Forged", b"1", b""].map(Cow::Borrowed),
            outcome: vec![0; 8],
            describe_loops: false,
            configure_loops: false,
            start_loops: false,
            pages: 1,
            import: None,
            wrong_type: false,
            interfaces: ("lunbox:handler/handler@0.1.0", "lunbox:handler/block@0.1.0"),
        }
    }
}

impl Forged {
    /// The component.
    pub fn component(&self) -> Vec<u8> {
        let mut builder = ComponentBuilder::default();
        if let Some(name) = self.import {
            let nothing = builder.type_instance(None, &InstanceType::new());
            builder.import(name, ComponentTypeRef::Instance(nothing));
        }
        let module = builder.core_module(None, &self.module());
        let core = builder.core_instantiate(None, module, []);
        let memory = builder.core_alias_export(None, core, "memory", ExportKind::Memory);
        let realloc = builder.core_alias_export(None, core, "realloc", ExportKind::Func);
        let types = Types::define(&mut builder, self.wrong_type);
        let mut lift = |name: &'static str, ty: u32| {
            let function = builder.core_alias_export(None, core, name, ExportKind::Func);
            let options =
                [CanonicalOption::UTF8, CanonicalOption::Memory(memory), CanonicalOption::Realloc(realloc)];
            (name, ComponentExportKind::Func, builder.lift_func(None, function, ty, options))
        };
        let handler = [
            lift("describe", types.describe),
            lift("configure", types.configure),
            lift("resume", types.resume),
            lift("cancel", types.cancel),
        ];
        let block = [lift("submit", types.submit)];
        let first = builder.instance_count();
        let mut component = builder.finish();
        // The builder has no call for instances made of exports.
        let mut instances = ComponentInstanceSection::new();
        instances.export_items(handler).export_items(block);
        instances.append_to_component(&mut component);
        let mut exports = ComponentExportSection::new();
        exports.export(self.interfaces.0, ComponentExportKind::Instance, first, None);
        exports.export(self.interfaces.1, ComponentExportKind::Instance, first + 1, None);
        exports.append_to_component(&mut component);
        component
    }

    fn module(&self) -> Module {
        let mut types = TypeSection::new();
        let mut functions = FunctionSection::new();
        let mut exports = ExportSection::new();
        let mut code = CodeSection::new();
        let mut function = |name: &str, params: &[ValType], results: &[ValType], body: Function| {
            let index = functions.len();
            types.ty().function(params.iter().copied(), results.iter().copied());
            functions.function(index);
            exports.export(name, ExportKind::Func, index);
            code.function(&body);
        };
        let (i32, i64) = (ValType::I32, ValType::I64);
        let describe = if self.describe_loops { endless_loop() } else { pointer(DESCRIPTION) };
        function("describe", &[], &[i32], describe);
        let config = [i32, i32, i64, i32, i32, i32, i32, i32, i32, i32];
        let configure = if self.configure_loops { endless_loop() } else { pointer(DEVICE_INFO) };
        function("configure", &config, &[i32], configure);
        function("resume", &[i64, i32, i32, i32, i64], &[i32], pointer(OUTCOME));
        function("cancel", &[i64], &[], empty());
        function("submit", &[i64, i32, i32, i64, i64], &[i32], pointer(OUTCOME));
        function("realloc", &[i32; 4], &[i32], bump());
        function("start", &[], &[], if self.start_loops { endless_loop() } else { empty() });
        let start = StartSection { function_index: functions.len() - 1 };

        let mut memories = MemorySection::new();
        memories.memory(MemoryType {
            minimum: self.pages,
            maximum: None,
            memory64: false,
            shared: false,
            page_size_log2: None,
        });
        exports.export("memory", ExportKind::Memory, 0);
        let mut globals = GlobalSection::new();
        globals.global(
            GlobalType { val_type: ValType::I32, mutable: true, shared: false },
            &ConstExpr::i32_const(HEAP),
        );
        let mut module = Module::new();
        module.section(&types).section(&functions).section(&memories).section(&globals).section(&exports);
        module.section(&start).section(&code).section(&self.data());
        module
    }

    fn data(&self) -> DataSection {
        let mut data = DataSection::new();
        let mut place = |address: u64, bytes: &[u8]| {
            let offset = ConstExpr::i32_const(i32::try_from(address).unwrap());
            data.active(0, &offset, bytes.iter().copied());
        };
        let mut text = TEXTS;
        for (field, bytes) in (DESCRIPTION..).step_by(8).zip(&self.description) {
            let length = u64::try_from(bytes.len()).unwrap();
            place(field, &u32::try_from(text).unwrap().to_le_bytes());
            place(field + 4, &u32::try_from(length).unwrap().to_le_bytes());
            place(text, bytes);
            text += length;
        }
        // ok(device-info): 1 MiB, neither cache nor solid state.
        place(DEVICE_INFO + 8, &(1_u64 << 20).to_le_bytes());
        place(OUTCOME, &self.outcome);
        data
    }
}

/// A component with one more import: an instance without functions. `types` is how many types it has.
pub fn with_import(component: &[u8], name: &str, types: u32) -> Vec<u8> {
    let mut section = ComponentTypeSection::new();
    section.instance(&InstanceType::new());
    let mut imports = ComponentImportSection::new();
    imports.import(name, ComponentTypeRef::Instance(types));
    let mut longer = component.to_vec();
    section.append_to_component(&mut longer);
    imports.append_to_component(&mut longer);
    longer
}

/// The contract's types, as far as the two interfaces need them.
struct Types {
    describe: u32,
    configure: u32,
    resume: u32,
    cancel: u32,
    submit: u32,
}

impl Types {
    fn define(builder: &mut ComponentBuilder, wrong_type: bool) -> Self {
        use PrimitiveValType::{Bool, String, U8, U32, U64};
        // Types of exported functions must have exported names.
        let mut named = |name: &str, define: &mut dyn FnMut(&mut ComponentBuilder) -> u32| {
            let index = define(builder);
            ComponentValType::Type(builder.export(name, ComponentExportKind::Type, index, None))
        };
        let mut enumeration = |name: &str, cases: &[&str]| {
            named(name, &mut |builder| {
                let (index, ty) = builder.type_defined(None);
                ty.enum_type(cases.iter().copied());
                index
            })
        };
        let op_kind =
            enumeration("op-kind", &["read", "write", "flush", "discard", "write-zeroes", "extents"]);
        let status =
            enumeration("status", &["good", "busy", "reservation-conflict", "task-set-full", "task-aborted"]);
        let op_error = enumeration(
            "op-error",
            &[
                "io",
                "no-space",
                "read-only",
                "end-of-store",
                "timed-out",
                "cancelled",
                "unsupported",
                "invalid",
                "buffer-lost",
            ],
        );
        let kind = enumeration("kind", &["read", "write", "flush"]);
        let op_flags = named("op-flags", &mut |builder| {
            let (index, ty) = builder.type_defined(None);
            ty.flags(["barrier", "zero-at-eof", "durable", "may-unmap"]);
            index
        });
        let record = |builder: &mut ComponentBuilder, name: &str, fields: &[(&str, ComponentValType)]| {
            let (index, ty) = builder.type_defined(None);
            ty.record(fields.iter().copied());
            ComponentValType::Type(builder.export(name, ComponentExportKind::Type, index, None))
        };
        let option = |builder: &mut ComponentBuilder, of: ComponentValType| {
            let (index, ty) = builder.type_defined(None);
            ty.option(of);
            ComponentValType::Type(index)
        };
        let list = |builder: &mut ComponentBuilder, of: ComponentValType| {
            let (index, ty) = builder.type_defined(None);
            ty.list(of);
            ComponentValType::Type(index)
        };
        let [bool, string, u8, u32, u64] = [Bool, String, U8, U32, U64].map(ComponentValType::Primitive);
        let op = record(
            builder,
            "op",
            &[
                ("kind", op_kind),
                ("store", u32),
                ("store-offset", u64),
                ("buffer", u32),
                ("buffer-offset", u32),
                ("length", u64),
                ("flags", op_flags),
            ],
        );
        let information = option(builder, u64);
        let sense =
            record(builder, "sense", &[("key", u8), ("asc", u8), ("ascq", u8), ("information", information)]);
        let ops = list(builder, op);
        let outcome = {
            let (index, ty) = builder.type_defined(None);
            ty.variant([
                ("done", Some(status)),
                ("check", Some(sense)),
                ("io", Some(op)),
                ("more", Some(ops)),
                ("not-handled", None),
            ]);
            ComponentValType::Type(builder.export("outcome", ComponentExportKind::Type, index, None))
        };
        let failure = record(builder, "op-failure", &[("index", u32), ("error", op_error)]);
        let first_error = option(builder, failure);
        let result = record(builder, "ops-result", &[("first-error", first_error), ("bytes", u64)]);
        let store_info = record(
            builder,
            "store-info",
            &[
                ("option", string),
                ("size", u64),
                ("read-only", bool),
                ("discard-zeroes", bool),
                ("can-grow", bool),
                ("physical-block-size", u32),
                ("discard-granularity", u32),
            ],
        );
        let stores = list(builder, store_info);
        let pair = {
            let (index, ty) = builder.type_defined(None);
            ty.tuple([string, string]);
            ComponentValType::Type(index)
        };
        let options = list(builder, pair);
        let config = record(
            builder,
            "device-config",
            &[
                ("name", string),
                ("size", u64),
                ("block-size", u32),
                ("read-only", bool),
                ("max-transfer", u32),
                ("stores", stores),
                ("options", options),
            ],
        );
        let info = record(
            builder,
            "device-info",
            &[("size", u64), ("write-cache", bool), ("solid-state", bool), ("physical-block-size", u32)],
        );
        let refusal = record(builder, "config-error", &[("field", string), ("message", string)]);
        let configured = {
            let (index, ty) = builder.type_defined(None);
            ty.result(Some(info), Some(refusal));
            ComponentValType::Type(index)
        };
        let description = record(
            builder,
            "description",
            &[("subtype", string), ("name", string), ("version", string), ("config-help", string)],
        );
        let command = record(
            builder,
            "command",
            &[("tag", u64), ("kind", kind), ("fua", bool), ("offset", u64), ("length", u64)],
        );
        let mut function = |params: &[(&str, ComponentValType)], result: Option<ComponentValType>| {
            let (index, mut ty) = builder.type_function(None);
            ty.params(params.iter().copied()).result(result);
            index
        };
        Self {
            describe: function(&[], Some(description)),
            configure: function(&[("config", config)], Some(configured)),
            resume: function(&[("tag", u64), ("result", result)], Some(outcome)),
            cancel: function(&[("tag", u64)], None),
            submit: function(&[("command", command)], Some(if wrong_type { u32 } else { outcome })),
        }
    }
}

fn pointer(address: u64) -> Function {
    let mut body = Function::new([]);
    body.instructions().i32_const(i32::try_from(address).unwrap()).end();
    body
}

fn empty() -> Function {
    let mut body = Function::new([]);
    body.instructions().end();
    body
}

fn endless_loop() -> Function {
    let mut body = Function::new([]);
    body.instructions().loop_(BlockType::Empty).br(0).end().unreachable().end();
    body
}

/// realloc(old, old size, alignment, new size): hands out memory upwards and takes none back.
fn bump() -> Function {
    let mut body = Function::new([]);
    body.instructions()
        .global_get(0)
        .global_get(0)
        .local_get(3)
        .i32_add()
        .i32_const(7)
        .i32_add()
        .i32_const(-8)
        .i32_and()
        .global_set(0)
        .end();
    body
}
