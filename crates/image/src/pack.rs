//! `pack`: an image out of programs of the host with everything they need to run.

//!
//! Every file keeps its path, and so does every link on the way to it, so that what the loader looks for is where it
//! looks. Libraries are found as the loader finds them: RPATH and RUNPATH with `$ORIGIN`, `/etc/ld.so.conf`, the
//! built-in directories. What a program opens by itself while it runs (plug-ins, data files) cannot be known.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use archive::{Entry, EntryKind, TarWriter};
use base::clock::Timestamp;
use base::error::{Kind, Kinded};
use oci::image::{Descriptor, History, ImageConfig, RunConfig};
use oci::platform::Platform;
use oci::{Reference, media_type};

use crate::create::{CreateError, NewImage, NewLayer};
use crate::elf;
use crate::libraries::{directories, search_path};
use crate::store::{Image, Store};
use content::{BlobError, Draft};

/// What to pack.
#[derive(Clone, Debug)]
pub struct PackOptions {
    /// The name to give.
    pub name: Reference,
    /// Absolute paths of programs of the host; the first becomes the image's command.
    pub programs: Vec<PathBuf>,
}

/// Why packing failed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// There is nothing to pack.
    #[error("at least one program is needed")]
    NoProgram,
    /// A path is relative.
    #[error("program \"{}\" is not an absolute path", path.display())]
    Relative {
        /// The path.
        path: PathBuf,
    },
    /// A program or a file that it needs is not there or cannot be read.
    #[error("read \"{}\"", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A shared library is nowhere.
    #[error("library \"{library}\" that \"{}\" needs was not found", needed_by.display())]
    NoLibrary {
        /// The library.
        library: String,
        /// Who needs it.
        needed_by: PathBuf,
    },
    /// A file is damaged or of a kind that cannot be packed.
    #[error("\"{}\" {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// The image could not be made.
    #[error(transparent)]
    Create(#[from] CreateError),
}

impl Kinded for PackError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoProgram | Self::Relative { .. } | Self::File { .. } => Kind::Invalid,
            Self::Read { source, .. } => base::error::kind_of_io(source),
            Self::NoLibrary { .. } => Kind::NotFound,
            Self::Create(error) => error.kind(),
        }
    }
}

impl Store {
    /// Makes an image out of host programs, the loader and the libraries that they need, and a minimal `/etc`.
    pub fn pack(&self, options: &PackOptions) -> Result<Arc<Image>, PackError> {
        let first = options.programs.first().ok_or(PackError::NoProgram)?;
        let mut tree = Tree::new();
        for program in &options.programs {
            tree.add_program(program)?;
        }
        tree.add_essentials();
        let layer = self.pack_layer(&tree)?;
        let platform = Platform::host();
        let created = Timestamp::now().to_string();
        let names: Vec<String> = options
            .programs
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let config = ImageConfig {
            architecture: platform.architecture,
            os: platform.os,
            created: Some(created.clone()),
            config: RunConfig {
                env: Some(vec![format!("PATH={PATH}")]),
                cmd: Some(vec![command(first)]),
                ..RunConfig::default()
            },
            history: vec![History {
                created: Some(created),
                created_by: Some(format!("berth image pack {}", names.join(" "))),
                ..History::default()
            }],
            ..ImageConfig::default()
        };
        Ok(self.create(NewImage {
            config,
            layers: vec![layer],
            names: vec![options.name.clone()],
        })?)
    }

    fn pack_layer(&self, tree: &Tree) -> Result<NewLayer, PackError> {
        let ingest = self.content.begin_ingest();
        let draft = self.content.draft().map_err(CreateError::from)?;
        let mut writer = TarWriter::new(io::BufWriter::new(draft));
        let size = tree.write(&mut writer)?;
        let finish = || -> io::Result<Draft> { Ok(writer.finish()?.into_inner()?) };
        let draft = finish().map_err(write_error)?;
        let (digest, bytes) = self.content.store(draft, None).map_err(CreateError::from)?;
        Ok(NewLayer {
            // The tar is not compressed, so its digest is its diff id.
            blob: Descriptor::new(media_type::OCI_LAYER, digest.clone(), bytes),
            diff_id: digest,
            size,
            ingest,
        })
    }
}

/// Where programs are looked for in the image, and by `env` in a script's first line.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Largest program or library that is read.
const MAX_FILE: u64 = 1 << 30;
/// Most links on the way to one file, as in the kernel.
const MAX_LINKS: usize = 40;

fn write_error(source: io::Error) -> PackError {
    PackError::Create(CreateError::Blob(BlobError::Step {
        doing: "write",
        source,
    }))
}

/// `busybox` alone prints a help text; its shell is what people want.
fn command(program: &Path) -> String {
    if !is_busybox(program) {
        return program.display().to_string();
    }
    let directory = program.parent().unwrap_or(Path::new("/"));
    if PATH.split(':').any(|own| Path::new(own) == directory) {
        "sh".to_owned()
    } else {
        directory.join("sh").display().to_string()
    }
}

fn is_busybox(program: &Path) -> bool {
    program.file_name().is_some_and(|name| name == "busybox")
}

/// One thing in the image.
#[derive(Debug)]
enum Item {
    Directory {
        mode: u32,
    },
    /// A file of the host, under its own path.
    File,
    Link {
        target: PathBuf,
    },
    Text {
        content: &'static str,
    },
}

/// The image's tree, by absolute path; parents come before what is in them.
#[derive(Debug)]
struct Tree {
    items: BTreeMap<PathBuf, Item>,
    search: Vec<PathBuf>,
    dynamic: bool,
}

impl Tree {
    fn new() -> Self {
        Self {
            items: BTreeMap::new(),
            search: search_path(),
            dynamic: false,
        }
    }

    fn add_program(&mut self, program: &Path) -> Result<(), PackError> {
        if !program.is_absolute() {
            return Err(PackError::Relative {
                path: program.to_owned(),
            });
        }
        let real = self.add(program)?;
        let content = read(&real)?;
        if let Some(line) = content.strip_prefix(b"#!") {
            return self.add_interpreter(&real, line);
        }
        self.scan(&real, &content, &[])?;
        if is_busybox(program) || is_busybox(&real) {
            let directory = real.parent().unwrap_or(Path::new("/")).to_owned();
            for applet in applets(&content) {
                let target = program.to_owned();
                self.items
                    .entry(directory.join(applet))
                    .or_insert(Item::Link { target });
            }
        }
        Ok(())
    }

    /// Adds the program in the first line of a script; for `env` also the one that it looks for.
    fn add_interpreter(&mut self, script: &Path, line: &[u8]) -> Result<(), PackError> {
        let wrong = |problem| PackError::File {
            path: script.to_owned(),
            problem,
        };
        let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let line =
            std::str::from_utf8(line).map_err(|_bytes| wrong("has an interpreter whose name is not text"))?;
        let mut words = line.split_whitespace();
        let interpreter = PathBuf::from(words.next().ok_or_else(|| wrong("names no interpreter"))?);
        if interpreter == script {
            return Err(wrong("is its own interpreter"));
        }
        let real = self.add(&interpreter)?;
        let content = read(&real)?;
        if content.starts_with(b"#!") {
            return Err(wrong("has a script as its interpreter"));
        }
        self.scan(&real, &content, &[])?;
        if interpreter.file_name().is_some_and(|name| name == "env") {
            let wanted = words.find(|word| !word.starts_with('-') && !word.contains('='));
            let wanted = wanted.ok_or_else(|| wrong("names no interpreter"))?;
            let found = PATH
                .split(':')
                .map(|directory| Path::new(directory).join(wanted))
                .find(|path| path.is_file());
            let found = found.ok_or_else(|| wrong("has an interpreter that is not installed"))?;
            let real = self.add(&found)?;
            let content = read(&real)?;
            self.scan(&real, &content, &[])?;
        }
        Ok(())
    }

    /// Adds what an ELF file needs, and what that needs. `inherited` are the `DT_RPATH` directories of those that loaded
    /// it.
    fn scan(&mut self, real: &Path, content: &[u8], inherited: &[PathBuf]) -> Result<(), PackError> {
        let wrong = |problem| PackError::File {
            path: real.to_owned(),
            problem,
        };
        if !content.starts_with(b"\x7fELF") {
            return Err(wrong("is neither an ELF program nor a script"));
        }
        let needs = elf::needs(content).ok_or_else(|| wrong("is a damaged ELF file"))?;
        let origin = real.parent().unwrap_or(Path::new("/"));
        let mut rpath = Vec::new();
        if needs.runpath.is_none() {
            rpath.extend(directories(&needs.rpath, origin));
            rpath.extend_from_slice(inherited);
        }
        let own = directories(needs.runpath.as_deref().unwrap_or_default(), origin);
        if let Some(loader) = &needs.interpreter {
            self.dynamic = true;
            self.add_once(&path(loader), &[])?;
        }
        for library in &needs.libraries {
            let name = path(library);
            let candidates: Vec<PathBuf> = if name.is_absolute() {
                vec![name.clone()]
            } else {
                rpath
                    .iter()
                    .chain(&own)
                    .chain(&self.search)
                    .map(|directory| directory.join(&name))
                    .collect()
            };
            let fits = |candidate: &&PathBuf| {
                let read = read(candidate).ok().and_then(|content| elf::needs(&content));
                read.is_some_and(|found| (found.class, found.machine) == (needs.class, needs.machine))
            };
            let found = candidates.iter().find(fits).ok_or_else(|| PackError::NoLibrary {
                library: name.display().to_string(),
                needed_by: real.to_owned(),
            })?;
            self.add_once(found, &rpath)?;
        }
        Ok(())
    }

    fn add_once(&mut self, file: &Path, inherited: &[PathBuf]) -> Result<(), PackError> {
        if self.items.contains_key(file) {
            return Ok(());
        }
        let before = self.items.len();
        let real = self.add(file)?;
        let is_new = self.items.len() > before;
        if is_new {
            let content = read(&real)?;
            self.scan(&real, &content, inherited)?;
        }
        Ok(())
    }

    /// Adds a file with every directory and link on the way to it; returns its path without links.
    fn add(&mut self, file: &Path) -> Result<PathBuf, PackError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| PackError::Read { path, source }
        };
        let wrong = |problem| PackError::File {
            path: file.to_owned(),
            problem,
        };
        let mut real = PathBuf::from("/");
        let mut todo: Vec<OsString> = components(file);
        let mut links = 0;
        while let Some(name) = todo.pop() {
            if name == ".." {
                real.pop();
                continue;
            }
            let path = real.join(&name);
            let meta = std::fs::symlink_metadata(&path).map_err(failed(&path))?;
            if meta.is_symlink() {
                links += 1;
                if links > MAX_LINKS {
                    return Err(wrong("is reached through too many links"));
                }
                let target = std::fs::read_link(&path).map_err(failed(&path))?;
                if target.is_absolute() {
                    real = PathBuf::from("/");
                }
                todo.extend(components(&target));
                self.items.insert(path, Item::Link { target });
            } else if meta.is_dir() {
                let mode = meta.permissions().mode() & 0o7777;
                self.items.insert(path.clone(), Item::Directory { mode });
                real = path;
            } else if meta.is_file() && todo.is_empty() {
                self.items.insert(path.clone(), Item::File);
                real = path;
            } else {
                return Err(wrong("is not a regular file"));
            }
        }
        if !matches!(self.items.get(&real), Some(Item::File)) {
            return Err(wrong("is a directory"));
        }
        Ok(real)
    }

    fn add_essentials(&mut self) {
        if self.dynamic && Path::new("/etc/ld.so.cache").is_file() {
            self.put("/etc/ld.so.cache", Item::File);
        }
        for (path, mode) in [
            ("/tmp", 0o1777),
            ("/root", 0o700),
            ("/proc", 0o555),
            ("/sys", 0o555),
            ("/dev", 0o755),
        ] {
            self.put(path, Item::Directory { mode });
        }
        for (path, content) in [
            (
                "/etc/passwd",
                "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
            ),
            ("/etc/group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"),
            (
                "/etc/nsswitch.conf",
                "passwd: files\ngroup: files\nhosts: files dns\n",
            ),
            ("/etc/hosts", ""),
            ("/etc/hostname", ""),
            ("/etc/resolv.conf", ""),
        ] {
            self.put(path, Item::Text { content });
        }
    }

    fn put(&mut self, path: &str, item: Item) {
        let path = PathBuf::from(path);
        if let Some(parent) = path.parent().filter(|parent| *parent != Path::new("/")) {
            self.items
                .entry(parent.to_owned())
                .or_insert(Item::Directory { mode: 0o755 });
        }
        self.items.insert(path, item);
    }

    /// Writes the tree as a tar; returns the bytes of its files.
    fn write<W: Write>(&self, writer: &mut TarWriter<W>) -> Result<u64, PackError> {
        let mut size = 0;
        for (path, item) in &self.items {
            let name = path.strip_prefix("/").unwrap_or(path).as_os_str().as_bytes();
            let written = match item {
                Item::Directory { mode } => {
                    writer.append(&Entry::new(name, EntryKind::Directory, *mode), &mut io::empty())
                }
                Item::Link { target } => {
                    let mut entry = Entry::new(name, EntryKind::Symlink, 0o777);
                    entry.link = target.as_os_str().as_bytes().to_vec();
                    writer.append(&entry, &mut io::empty())
                }
                Item::Text { content } => {
                    let mut entry = Entry::new(name, EntryKind::File, 0o644);
                    entry.size = u64::try_from(content.len()).unwrap_or(u64::MAX);
                    size += entry.size;
                    writer.append(&entry, &mut content.as_bytes())
                }
                Item::File => {
                    let failed = |source| PackError::Read {
                        path: path.clone(),
                        source,
                    };
                    let mut file = File::open(path).map_err(failed)?;
                    let meta = file.metadata().map_err(failed)?;
                    let mut entry = Entry::new(name, EntryKind::File, meta.permissions().mode() & 0o7777);
                    entry.size = meta.len();
                    entry.mtime = (meta.mtime(), 0);
                    size += entry.size;
                    writer.append(&entry, &mut file)
                }
            };
            written.map_err(write_error)?;
        }
        Ok(size)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, PackError> {
    let failed = |source| PackError::Read {
        path: path.to_owned(),
        source,
    };
    let mut content = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_FILE + 1)
        .read_to_end(&mut content)
        .map_err(failed)?;
    if u64::try_from(content.len()).unwrap_or(u64::MAX) > MAX_FILE {
        return Err(PackError::File {
            path: path.to_owned(),
            problem: "is larger than 1 GiB",
        });
    }
    Ok(content)
}

/// Returns the components of a path, last first.
fn components(path: &Path) -> Vec<OsString> {
    let mut names: Vec<OsString> = path
        .components()
        .filter(|component| matches!(component, Component::Normal(_) | Component::ParentDir))
        .map(|component| component.as_os_str().to_owned())
        .collect();
    names.reverse();
    names
}

fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes.to_vec()))
}

/// Returns the names under which a busybox does different things. It holds them in one sorted list of C strings that
/// begins with `[`; the program is not run to ask it.
fn applets(content: &[u8]) -> Vec<String> {
    const START: &[u8] = b"\0[\0[[\0";
    let Some(start) = content.windows(START.len()).position(|window| window == START) else {
        return Vec::new();
    };
    let is_name = |name: &&[u8]| {
        let is_letter =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'[' | b'_' | b'-' | b'.' | b'+');
        !name.is_empty() && name.len() <= 32 && name.iter().all(is_letter)
    };
    content[start + 1..]
        .split(|&byte| byte == 0)
        .take_while(is_name)
        .take(1000)
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .filter(|name| name != "busybox")
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busybox_names_its_applets() {
        let names = applets(&std::fs::read("/bin/busybox").unwrap());
        for wanted in ["[", "sh", "true", "ls", "wget", "sleep"] {
            assert!(names.iter().any(|name| name == wanted), "{wanted}: {names:?}");
        }
        assert!(applets(b"no busybox").is_empty());
    }

    #[test]
    fn a_dynamic_program_comes_with_its_loader_and_libraries() {
        let mut tree = Tree::new();
        tree.add_program(Path::new("/bin/sh")).unwrap();
        let real = |path: &str| path.ends_with("/ld-linux-x86-64.so.2") || path.contains("/ld-linux");
        let paths: Vec<String> = tree.items.keys().map(|path| path.display().to_string()).collect();
        assert!(paths.iter().any(|path| real(path)), "{paths:?}");
        assert!(paths.iter().any(|path| path.ends_with("/libc.so.6")), "{paths:?}");
    }

    #[test]
    fn what_cannot_be_packed_is_said() {
        let pack = |path: &str| Tree::new().add_program(Path::new(path)).unwrap_err().to_string();
        assert_eq!(pack("bin/sh"), "program \"bin/sh\" is not an absolute path");
        assert_eq!(pack("/no/such"), "read \"/no\"");
        assert_eq!(pack("/etc"), "\"/etc\" is a directory");
        assert_eq!(
            pack("/etc/passwd"),
            "\"/etc/passwd\" is neither an ELF program nor a script"
        );
    }
}
