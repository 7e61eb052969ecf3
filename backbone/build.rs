//! Compiles the CUDA kernels, under the feature `cuda` only: every `.cu` file of the ops and of `src/cuda/kernels` to a
//! fat binary for sm_80 and sm_90 (and PTX for later ones), and a Rust function for each kernel, made from its C signature, so that the two
//! cannot disagree.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

type Failure = Box<dyn std::error::Error>;

/// Folders of kernels: one an op, and what they share.
const OPS: &str = "src/ops";
const SHARED: &str = "src/cuda/kernels";

fn main() -> Result<(), Failure> {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return Ok(());
    }
    for variable in ["NVCC", "CUDA_PATH", "PATH"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    let (nvcc, out) = (nvcc()?, PathBuf::from(std::env::var("OUT_DIR")?));
    let files = kernel_files()?;
    // Not the folders, which hold the ops' Rust too: after the first build of a new kernel file, touch this one.
    for file in &files {
        println!("cargo:rerun-if-changed={}", file.display());
    }
    let extension = |path: &Path| path.extension().is_some_and(|extension| extension == "cu");
    let sources: Vec<&PathBuf> = files.iter().filter(|path| extension(path)).collect();
    let (mut functions, mut modules) = (String::new(), String::new());
    for source in sources {
        let name =
            source.file_stem().and_then(|name| name.to_str()).ok_or("a kernel file's name is no text")?;
        let image = out.join(format!("{name}.fatbin"));
        let targets =
            ["arch=compute_80,code=sm_80", "arch=compute_90,code=sm_90", "arch=compute_90,code=compute_90"];
        let mut compile = Command::new(&nvcc);
        compile.args([
            "-std=c++17",
            "-I",
            SHARED,
            "-O3",
            "-lineinfo",
            "-Xfatbin",
            "-compress-all",
            "-fatbin",
        ]);
        for target in targets {
            compile.args(["-gencode", target]);
        }
        run(compile.arg("-o").arg(&image).arg(source))?;
        let text = run(Command::new(&nvcc).args(["-std=c++17", "-I", SHARED, "-E"]).arg(source))?;
        let lengths = lengths(source)?;
        let mut names = String::new();
        for kernel in kernels(&text) {
            // Kernels of types that no Rust code uses yet (half) are compiled, and get no function.
            if let Some(function) = function(&kernel, &lengths)? {
                write!(names, "{:?}, ", kernel.name)?;
                functions += &function;
            }
        }
        let constant = name.to_uppercase();
        writeln!(
            functions,
            "static {constant}: Image<{}> = Image(*include_bytes!({image:?}));",
            image.metadata()?.len()
        )?;
        writeln!(modules, "    ({name:?}, &{constant}.0, &[{names}]),")?;
    }
    let mirrored = mirrored(&files)?;
    let text = format!(
        "{functions}\n{mirrored}\n/// Every kernel file: its name, its machine code, its kernels.\n\
         pub(super) const MODULES: &[(&str, &[u8], &[&str])] = &[\n{modules}];\n"
    );
    Ok(std::fs::write(out.join("kernels.rs"), text)?)
}

/// Every `.cu` file and header of the ops, and those that they share, in the order of their names.
fn kernel_files() -> Result<Vec<PathBuf>, Failure> {
    let mut folders = vec![PathBuf::from(SHARED)];
    for entry in std::fs::read_dir(OPS)? {
        let path = entry?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    let mut files = Vec::new();
    for folder in folders {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "cu" || extension == "h") {
                files.push(path);
            }
        }
    }
    files.sort_by_key(|path| path.file_name().map(ToOwned::to_owned));
    Ok(files)
}

/// A constant for each `static_assert(expression == number, "rust: NAME")` of the sources: the C++ compiler sees to the
/// number, and the launches take it from here.
fn mirrored(files: &[PathBuf]) -> Result<String, Failure> {
    let mut constants = String::new();
    for file in files {
        for line in std::fs::read_to_string(file)?.lines() {
            let Some((assertion, name)) =
                line.strip_suffix("\");").and_then(|line| line.split_once(", \"rust: "))
            else {
                continue;
            };
            let number: usize = assertion
                .rsplit_once("== ")
                .and_then(|(_, number)| number.parse().ok())
                .ok_or_else(|| format!("{}: {line}: expected `== NUMBER`", file.display()))?;
            writeln!(constants, "    pub(crate) const {name}: usize = {number};")?;
        }
    }
    Ok(format!("/// Numbers that kernels and launches share.\npub(crate) mod mirrored {{\n{constants}}}\n"))
}

/// The compiler: NVCC, CUDA_PATH, PATH, or NVIDIA's wheels where `.ci/cuda.sh` puts them.
fn nvcc() -> Result<PathBuf, Failure> {
    if let Some(nvcc) = std::env::var_os("NVCC") {
        return Ok(nvcc.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::var_os("CUDA_PATH").map(|home| PathBuf::from(home).join("bin"));
    let wheels = std::fs::read_dir("../target/cuda/lib").into_iter().flatten().flatten();
    folders
        .into_iter()
        .chain(std::env::split_paths(&path))
        .chain(wheels.map(|python| python.path().join("site-packages/nvidia/cu13/bin")))
        .map(|folder| folder.join("nvcc"))
        .find(|nvcc| nvcc.is_file())
        .ok_or_else(|| "the feature cuda needs nvcc: set NVCC or CUDA_PATH, or run .ci/cuda.sh once".into())
}

fn run(command: &mut Command) -> Result<String, Failure> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{command:?}:\n{}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

struct Kernel {
    name: String,
    /// Threads of its blocks, where its launch bounds are a number; else those of every other kernel.
    threads: Option<String>,
    /// C type and name.
    parameters: Vec<(String, String)>,
}

/// The kernels of a preprocessed source: `extern "C" __attribute__((global)) void … name(parameters) {`.
fn kernels(source: &str) -> Vec<Kernel> {
    let text: String = source.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join(" ");
    let parts = text.split("extern \"C\" __attribute__((global)) void").skip(1);
    let kernel = |part: &str| {
        let part = part.trim_start();
        let bounds = "__attribute__((launch_bounds(";
        let (threads, part) = match part.strip_prefix(bounds) {
            Some(rest) => {
                let (bounds, rest) = rest.split_once(")))")?;
                let threads = bounds.split(',').next().map(str::trim)?;
                (threads.starts_with(|first: char| first.is_ascii_digit()).then(|| threads.to_owned()), rest)
            }
            None => (None, part),
        };
        let (name, rest) = part.split_once('(')?;
        let parameter = |text: &str| {
            let words: Vec<&str> = text.split_whitespace().filter(|word| *word != "__restrict__").collect();
            let (name, kind) = words.split_last()?;
            Some((kind.join(" "), (*name).to_owned()))
        };
        let parameters = rest.split_once(')')?.0.split(',').map(parameter).collect::<Option<_>>()?;
        Some(Kernel { name: name.trim().to_owned(), threads, parameters })
    };
    parts.filter_map(kernel).collect()
}

/// The lengths that the kernels of a source want of their buffers: names, perhaps with a star in them, and for each buffer
/// an expression of the kernel's integers, of `grid`, and of `suffix`, the number at the end of the kernel's name.
type Lengths = Vec<(Vec<String>, Vec<(String, String)>)>;

/// From lines `// lengths NAME …: buffer expression; …`.
fn lengths(source: &Path) -> Result<Lengths, Failure> {
    let text = std::fs::read_to_string(source)?;
    let of = |line: &str| {
        let (names, buffers) = line.split_once(": ")?;
        let buffer = |text: &str| {
            let (name, length) = text.trim().split_once(' ')?;
            Some((name.to_owned(), length.to_owned()))
        };
        let names = names.split_whitespace().map(str::to_owned).collect();
        Some((names, buffers.split(';').map(buffer).collect::<Option<_>>()?))
    };
    let lines = text.lines().filter_map(|line| line.strip_prefix("// lengths "));
    lines.map(|line| of(line).ok_or_else(|| format!("{}: {line}", source.display()).into())).collect()
}

/// Whether a kernel's name is `pattern`, whose star stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, end)) => {
            name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
        }
    }
}

/// Statements that check the lengths of a kernel's buffers.
fn checks(kernel: &Kernel, lengths: &Lengths) -> Result<String, Failure> {
    let name = &kernel.name;
    let found = lengths.iter().find(|(names, _)| names.iter().any(|pattern| matches(pattern, name)));
    let (_, lengths) = found.ok_or_else(|| format!("no line `// lengths {name}: …` in its source"))?;
    let mut text = String::from("    {\n");
    for (kind, name) in &kernel.parameters {
        if matches!(kind.as_str(), "uint32_t" | "uint64_t") {
            writeln!(text, "        let {name} = {name} as usize;")?;
        }
    }
    if let Some(suffix) = name.rsplit('_').next().and_then(|suffix| suffix.parse::<usize>().ok()) {
        writeln!(text, "        let suffix = {suffix}usize;")?;
    }
    writeln!(text, "        check_lengths({name:?}, grid, &[")?;
    for (kind, buffer) in kernel.parameters.iter().filter(|(kind, _)| kind.ends_with('*')) {
        let length = lengths.iter().find(|(of, _)| of == buffer).map(|(_, length)| length);
        let length = length.ok_or_else(|| format!("no length of {buffer} in the line of {name}"))?;
        let element = element(kind).unwrap_or_default();
        let side = if kind.starts_with("const ") { "Input" } else { "Output" };
        let found = match buffer.starts_with("optional_") {
            true => {
                format!("{buffer}.as_ref().map_or(usize::MAX, |values| {side}::<{element}>::count(*values))")
            }
            false => format!("{side}::<{element}>::count({buffer})"),
        };
        writeln!(text, "            ({buffer:?}, {found}, {length}),")?;
    }
    Ok(text + "        ])?;\n    }\n")
}

/// The Rust side of a parameter's type, a pointer's without the pointer.
fn element(kind: &str) -> Option<&'static str> {
    Some(match kind.trim_start_matches("const ").trim_end_matches('*') {
        "float" => "f32",
        "double" => "f64",
        "uint32_t" => "u32",
        "uint64_t" => "u64",
        "bf16" | "__nv_bfloat16" => "BFloat16",
        "Geometry" => "RationalSizes",
        "WindowSizes" => "WindowSizes",
        _ => return None,
    })
}

/// The Rust function that launches a kernel; `None` where a parameter's type has no Rust side.
fn function(kernel: &Kernel, lengths: &Lengths) -> Result<Option<String>, Failure> {
    if kernel.parameters.iter().any(|(kind, _)| element(kind).is_none()) {
        return Ok(None);
    }
    let checks = checks(kernel, lengths)?;
    Ok(launch(kernel, &checks))
}

/// The function's text.
fn launch(kernel: &Kernel, checks: &str) -> Option<String> {
    let (mut signature, mut bindings, mut arguments) = (String::new(), String::new(), String::new());
    for (kind, name) in &kernel.parameters {
        let optional = name.starts_with("optional_");
        let element = element(kind)?;
        let (rust, value) = match (kind.ends_with('*'), kind.starts_with("const ")) {
            (true, true) if optional => (
                match element {
                    "f32" => "Option<View<'_>>".to_owned(),
                    _ => format!("Option<&CudaSlice<{element}>>"),
                },
                format!("{name}.map(|values| Input::<{element}>::input(values, context)).transpose()?"),
            ),
            (true, true) => (format!("&impl Input<{element}>"), format!("{name}.input(context)?")),
            (true, false) => (format!("&mut impl Output<{element}>"), format!("{name}.output(context)?")),
            (false, _) => (element.to_owned(), String::new()),
        };
        write!(signature, ", {name}: {rust}").ok()?;
        match (kind.ends_with('*'), kind.starts_with("const ")) {
            (true, true) if optional => {
                writeln!(
                    bindings,
                    "    bytes += {name}.as_ref().map_or(0, |values| Input::<{element}>::bytes(*values));\n    \
                     let ({name}, _{name}) = {value}.unwrap_or((0, None));"
                )
                .ok()?;
            }
            (true, true) => {
                writeln!(bindings, "    bytes += {name}.bytes();\n    let ({name}, _{name}) = {value};")
                    .ok()?;
            }
            (true, false) => {
                writeln!(bindings, "    bytes += {name}.bytes();\n    let {name} = {value};").ok()?;
            }
            (false, _) => {}
        }
        write!(arguments, "(&raw const {name}).cast_mut().cast(), ").ok()?;
    }
    let name = &kernel.name;
    let threads = kernel.threads.as_deref().unwrap_or("mirrored::THREADS");
    Some(format!(
        "/// Launches the kernel `{name}`.\n\
         #[allow(clippy::too_many_arguments, unused_variables, clippy::unnecessary_cast, reason = \"as many as the kernel has\")]\n\
         pub(crate) fn {name}(context: &Context, grid: Grid{signature}) -> Result<()> {{\n{checks}    let mut bytes = 0;\n{bindings}    \
         // SAFETY: the arguments have the number, the order and the types of the kernel's C signature, from which\n    \
         // this function was made, and live until the launch returns, which copies them.\n    \
         unsafe {{ context.launch(\"{name}\", grid, {threads}, bytes, &mut [{arguments}]) }}\n}}\n\n"
    ))
}
