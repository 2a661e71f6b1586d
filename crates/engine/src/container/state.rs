//! The states of a container and what may be asked in each; pure.
//!
//! ```text
//!                 ┌────────────── start failed ──────────────┐
//!                 ▼                                          │
//! create ──▶ created ──start──▶ running ──exit──▶ exited ──start──▶ running
//!                                │  ▲  └─exit, policy─▶ restarting ──delay──▶ running
//!                          pause │  │ unpause                └── stop ──▶ exited
//!                                ▼  │
//!                               paused ──exit (killed)──▶ exited
//!
//! created, exited, dead ──remove──▶ removing ──▶ gone
//!                                       └─ failed ──▶ dead
//! ```
//!
//! A running container is removed by force: it is killed first and then removed from `exited`.

use super::view::Status;

/// Something that is asked of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Start it.
    Start,
    /// Stop it.
    Stop,
    /// Send it a signal.
    Kill,
    /// Freeze it.
    Pause,
    /// Let it go on.
    Unpause,
    /// Execute something in it.
    Exec,
    /// Attach to it.
    Attach,
    /// Set its terminal's size.
    Resize,
    /// Remove it.
    Remove,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is done.
    Accept,
    /// It is so already.
    Already,
    /// It cannot be done in this state.
    Refuse(Refusal),
}

/// Why something cannot be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It does not run.
    NotRunning,
    /// It is frozen.
    Paused,
    /// It is not frozen.
    NotPaused,
    /// It is frozen already.
    AlreadyPaused,
    /// It waits for its restart.
    Restarting,
    /// It is being removed, or could not be.
    Removing,
    /// It runs.
    Running,
}

/// Decides, from nothing but the state and the request.
pub(crate) fn decide(status: Status, ask: Ask) -> Answer {
    use Answer::{Accept, Already, Refuse};
    use Status::{Created, Dead, Exited, Paused, Removing, Restarting, Running};
    match (ask, status) {
        (Ask::Start, Created | Exited) => Accept,
        (Ask::Start, Running | Restarting) => Already,
        (Ask::Start, Paused) => Refuse(Refusal::Paused),
        (Ask::Start, Removing | Dead) => Refuse(Refusal::Removing),

        (Ask::Stop, Running | Paused | Restarting) => Accept,
        (Ask::Stop, Created | Exited | Removing | Dead) => Already,

        (Ask::Kill, Running | Paused | Restarting) => Accept,
        (Ask::Kill, Created | Exited | Removing | Dead) => Refuse(Refusal::NotRunning),

        (Ask::Pause, Running) => Accept,
        (Ask::Pause, Paused) => Refuse(Refusal::AlreadyPaused),
        (Ask::Pause, Restarting) => Refuse(Refusal::Restarting),
        (Ask::Pause, Created | Exited | Removing | Dead) => Refuse(Refusal::NotRunning),

        (Ask::Unpause, Paused) => Accept,
        (Ask::Unpause, Created | Running | Restarting | Exited | Removing | Dead) => {
            Refuse(Refusal::NotPaused)
        }

        (Ask::Exec, Running) => Accept,
        (Ask::Exec, Paused) => Refuse(Refusal::Paused),
        (Ask::Exec, Restarting) => Refuse(Refusal::Restarting),
        (Ask::Exec, Created | Exited | Removing | Dead) => Refuse(Refusal::NotRunning),

        // A client attaches before the start, so that no output is missed.
        (Ask::Attach, Created | Running | Exited) => Accept,
        (Ask::Attach, Paused) => Refuse(Refusal::Paused),
        (Ask::Attach, Restarting) => Refuse(Refusal::Restarting),
        (Ask::Attach, Removing | Dead) => Refuse(Refusal::Removing),

        (Ask::Resize, Running | Paused) => Accept,
        (Ask::Resize, Created | Restarting | Exited | Removing | Dead) => Refuse(Refusal::NotRunning),

        (Ask::Remove, Created | Exited | Dead) => Accept,
        (Ask::Remove, Running | Paused | Restarting) => Refuse(Refusal::Running),
        (Ask::Remove, Removing) => Already,
    }
}

impl Refusal {
    /// Returns docker's text.
    pub(crate) fn text(self, id: &str, doing: Ask) -> String {
        match (self, doing) {
            (Self::Paused, Ask::Start) => "cannot start a paused container, try unpause instead".to_owned(),
            (Self::Paused, Ask::Exec) => {
                format!("container {id} is paused, unpause the container before exec")
            }
            (Self::Paused, _) => format!("container {id} is paused, unpause the container before attach"),
            (Self::NotRunning | Self::Running, _) => format!("container {id} is not running"),
            (Self::NotPaused, _) => format!("container {id} is not paused"),
            (Self::AlreadyPaused, _) => format!("container {id} is already paused"),
            (Self::Restarting, _) => {
                format!("container {id} is restarting, wait until the container is running")
            }
            (Self::Removing, Ask::Start) => {
                "container is marked for removal and cannot be started".to_owned()
            }
            (Self::Removing, _) => format!("container {id} is marked for removal"),
        }
    }
}

/// Something that happened to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happening {
    /// PID 1 runs.
    Started,
    /// PID 1 ended and its policy will start it again.
    EndedForNow,
    /// PID 1 ended for good, or its shim is gone.
    Ended,
    /// Its processes were frozen.
    Frozen,
    /// Its processes go on.
    Thawed,
    /// Its removal began.
    RemovalBegan,
    /// Its removal failed.
    RemovalFailed,
}

/// Returns the next state, or `None` if this cannot have happened; the state then stays.
pub(crate) fn next(status: Status, happening: Happening) -> Option<Status> {
    use Status::{Created, Dead, Exited, Paused, Removing, Restarting, Running};
    match (happening, status) {
        (Happening::Started, Created | Exited | Restarting | Running) => Some(Running),
        (Happening::EndedForNow, Running | Paused | Restarting) => Some(Restarting),
        (Happening::Ended, Running | Paused | Restarting) => Some(Exited),
        (Happening::Frozen, Running) => Some(Paused),
        (Happening::Thawed, Paused) => Some(Running),
        (Happening::RemovalBegan, Created | Exited | Dead) => Some(Removing),
        (Happening::RemovalFailed, Removing) => Some(Dead),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUSES: [Status; 7] = [
        Status::Created,
        Status::Running,
        Status::Paused,
        Status::Restarting,
        Status::Removing,
        Status::Exited,
        Status::Dead,
    ];
    const ASKS: [Ask; 9] = [
        Ask::Start,
        Ask::Stop,
        Ask::Kill,
        Ask::Pause,
        Ask::Unpause,
        Ask::Exec,
        Ask::Attach,
        Ask::Resize,
        Ask::Remove,
    ];
    const HAPPENINGS: [Happening; 7] = [
        Happening::Started,
        Happening::EndedForNow,
        Happening::Ended,
        Happening::Frozen,
        Happening::Thawed,
        Happening::RemovalBegan,
        Happening::RemovalFailed,
    ];

    /// What an accepted request makes happen.
    fn effect(ask: Ask) -> Option<Happening> {
        match ask {
            Ask::Start => Some(Happening::Started),
            Ask::Stop => Some(Happening::Ended),
            Ask::Pause => Some(Happening::Frozen),
            Ask::Unpause => Some(Happening::Thawed),
            Ask::Remove => Some(Happening::RemovalBegan),
            Ask::Kill | Ask::Exec | Ask::Attach | Ask::Resize => None,
        }
    }

    #[test]
    fn what_is_accepted_can_happen() {
        for status in STATUSES {
            for ask in ASKS {
                if let (Answer::Accept, Some(happening)) = (decide(status, ask), effect(ask)) {
                    assert!(next(status, happening).is_some(), "{status:?} {ask:?}");
                }
            }
        }
    }

    #[test]
    fn processes_are_where_the_states_say() {
        for status in STATUSES {
            for happening in HAPPENINGS {
                let Some(after) = next(status, happening) else {
                    continue;
                };
                match happening {
                    Happening::Started | Happening::Frozen | Happening::Thawed => {
                        assert!(after.has_process());
                    }
                    Happening::Ended | Happening::EndedForNow => {
                        assert!(status.is_running() && !after.has_process());
                    }
                    Happening::RemovalBegan | Happening::RemovalFailed => {
                        assert!(!status.is_running() && !after.is_running());
                    }
                }
            }
        }
    }

    #[test]
    fn every_random_walk_can_be_ended_and_removed() {
        // A small linear congruential generator: the walk is the same each time.
        let mut seed = 1u64;
        for _ in 0..2000 {
            let mut status = Status::Created;
            for _ in 0..30 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let pick = usize::try_from(seed >> 33).unwrap() % HAPPENINGS.len();
                status = next(status, HAPPENINGS[pick]).unwrap_or(status);
            }
            if status.is_running() {
                status = next(status, Happening::Ended).unwrap();
            }
            if status != Status::Removing {
                assert_eq!(decide(status, Ask::Remove), Answer::Accept);
                status = next(status, Happening::RemovalBegan).unwrap();
            }
            assert_eq!(status, Status::Removing);
        }
    }
}
