//! Containers: their life, one verb per file.

mod actor;
mod attach;
mod changes;
mod commit;
mod copy;
mod create;
mod exec;
mod export;
mod finish;
mod host_files;
mod inspect;
mod kept_logs;
mod kill;
mod list;
mod logs;
mod mounts;
mod namespaces;
mod pause;
mod prune;
mod record;
pub(crate) mod record_file;
mod remove;
mod rename;
mod resize;
mod restart;
mod rollback;
mod shm;
mod start;
mod state;
mod stats;
mod stop;
mod task;
mod top;
mod update;
mod view;
mod wait;

pub use attach::{AttachError, AttachRequest, Attached, attach};
pub use changes::{Change, ChangeKind, FilesError, changes};
pub use commit::{CommitRequest, commit};
pub use copy::{ExtractRequest, PathFacts, get as copy_out, look as look_at, put as copy_in};
pub(crate) use create::snapshot_options;
pub use create::{CreateError, CreateRequest, Created, create};
pub use exec::{
    ExecConfig, ExecDetails, ExecError, ExecStart, Session, exec_create, exec_ended, exec_inspect,
    exec_resize, exec_start,
};
pub use export::export;
pub use inspect::{Details, MountPoint, inspect};
pub use kept_logs::KeptLogLimits;
pub use kill::kill;
pub use list::{ListRequest, Summary, list};
pub use logs::{LogLine, LogStream, Logs, LogsRequest, Output, logs};
pub use pause::{pause, unpause};
pub use prune::{PruneRequest, Pruned, prune};
pub use remove::{RemoveError, RemoveRequest, remove};
pub use rename::{RenameError, rename};
pub use resize::resize;
pub use restart::restart;
pub use rollback::{RolledBack, rollback};
pub use start::{StartError, start};
pub use stats::{BlockCount, MemoryUse, Sample, stats};
pub use stop::{StopRequest, stop};
pub use top::{Processes, top};
pub use update::{UpdateRequest, Updated, update};
pub use view::{ChangeError, Changed, Exit, LookupError, Status, View};
pub use wait::{Condition, Ended, Waiter, wait};

pub(crate) use actor::{Command, Found, ask, queue};
pub(crate) use commit::thaw_left_over;
pub(crate) use exec::Exec;
pub(crate) use finish::exit_record;
pub(crate) use inspect::sizes;
pub(crate) use kept_logs::KeptLogs;
pub(crate) use list::summarize;
pub(crate) use record::{Container, Record, StateRecord};
pub(crate) use rollback::finish_rollback;
