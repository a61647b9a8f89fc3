//! The faults of a fake server, as the test scripts them.
//!
//! Each method of [`FakeServer`] here sets one field of the state and wakes the connections that go by it. None of them
//! waits, and each takes effect at the next step of every connection.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::FakeServer;
use super::state::{Attention, CloseAfter, Content, End, Faults, Loading, Power, Role, Saving, State};
use crate::resp::Reply;

/// # Scripted faults
impl FakeServer {
    /// Ends all scripted faults, hanging and freezing included. Role, data, credentials, and whether the server is up
    /// stay as they are.
    pub fn heal(&self) {
        self.script(|faults| *faults = Faults::default());
    }

    /// From now on accepts and reads, but executes and answers nothing, like a process that is stuck.
    pub fn hang(&self) {
        self.script(|faults| faults.attention = Attention::Hung);
    }

    /// Ends [`hang`](Self::hang): everything that was read is executed now, also for clients that have left.
    pub fn resume(&self) {
        self.script(|faults| faults.attention = Attention::Awake);
    }

    /// From now on does not even read, like a process under SIGSTOP whose kernel goes on acknowledging.
    pub fn freeze(&self) {
        self.script(|faults| faults.attention = Attention::Frozen);
    }

    /// Ends [`freeze`](Self::freeze): what waits in the buffers is read and executed.
    pub fn thaw(&self) {
        self.resume();
    }

    /// Keeps the server from executing anything for this long, like a slow script. It reads on meanwhile.
    pub fn busy_for(&self, time: Duration) {
        self.script(|faults| faults.busy_until = Instant::now().checked_add(time));
    }

    /// From now on each command takes this long, on each connection for itself. Default: zero.
    pub fn slow(&self, latency: Duration) {
        self.script(|faults| faults.latency = latency);
    }

    /// Delays the answer to the next `PING` and everything behind it on the same connection, once: a lost probe. (Replies
    /// are in order, so that no server can leave one out.)
    pub fn delay_next_ping(&self, delay: Duration) {
        self.script(|faults| faults.ping_delay = Some(delay));
    }

    /// From now on the dataset is loading, until [`finish_loading`](Self::finish_loading): `HELLO`, `AUTH`, `ROLE`, `INFO` and
    /// the like are answered as ever, all else, `PING` included, with `LOADING`.
    pub fn start_loading(&self) {
        self.script(|faults| faults.loading = Loading::Under);
    }

    /// As [`start_loading`](Self::start_loading), for this long.
    pub fn load_for(&self, time: Duration) {
        self.script(|faults| faults.loading = Instant::now().checked_add(time).map_or(Loading::Under, Loading::Until));
    }

    /// The dataset is loaded.
    pub fn finish_loading(&self) {
        self.script(|faults| faults.loading = Loading::Done);
    }

    /// From now on a primary answers writes and `PING` with `MISCONF`, as after a failed save.
    pub fn fail_saves(&self) {
        self.script(|faults| faults.saving = Saving::Fails);
    }

    /// Ends [`fail_saves`](Self::fail_saves).
    pub fn repair_saves(&self) {
        self.script(|faults| faults.saving = Saving::Works);
    }

    /// From now on a replica refuses writes with this text, code included, such as the `ERR READONLY …` of some
    /// proxies. `None` is Redis's own.
    pub fn readonly_text(&self, text: Option<&str>) {
        self.script(|faults| faults.readonly_text = text.map(str::to_owned));
    }

    /// From now on `HELLO`, `ROLE` and `INFO` say this word for the role, such as KeyDB's `active-replica`. `None` is
    /// the true role.
    pub fn role_word(&self, word: Option<&str>) {
        self.script(|faults| faults.role_word = word.map(str::to_owned));
    }

    /// From now on exactly these commands are answered with `NOPERM`. `CLIENT|SETNAME` names a subcommand. An empty list
    /// permits everything.
    pub fn deny(&self, commands: &[&str]) {
        self.script(|faults| faults.denied = names(commands));
    }

    /// From now on exactly these commands are unknown, as to an older server or a proxy; named as for
    /// [`deny`](Self::deny).
    pub fn unknown(&self, commands: &[&str]) {
        self.script(|faults| faults.unknown = names(commands));
    }

    /// From now on the connection is closed without an answer upon exactly these commands, as some proxies do; named
    /// as for [`deny`](Self::deny).
    pub fn close_on(&self, commands: &[&str]) {
        self.script(|faults| faults.closing = names(commands));
    }

    /// From now on `command` is answered with this error, code included, and not executed: `MASTERDOWN …`, `OOM …`,
    /// `TRYAGAIN …`. `None` ends it.
    pub fn refuse(&self, command: &str, error: Option<&str>) {
        self.answer(command, error.map(Reply::error));
    }

    /// From now on `command`, named as for [`deny`](Self::deny), is answered with this and not executed: what other products
    /// say of themselves upon `HELLO`, `ROLE` or `INFO`, and what no fake knows (`CLUSTER|SLOTS`). `None` ends it.
    pub fn answer(&self, command: &str, reply: Option<Reply>) {
        let command = command.to_uppercase();
        self.script(|faults| {
            match reply {
                Some(reply) => faults.answers.insert(command, reply),
                None => faults.answers.remove(&command),
            };
        });
    }

    /// From now on every connection is closed when it has been sent this many bytes, in mid-reply if that is where
    /// they end. Bytes sent before count. `None` ends it.
    pub fn close_after_bytes(&self, bytes: Option<u64>) {
        self.script(|faults| faults.output.close_after_bytes = bytes);
    }

    /// From now on every connection is closed after its next reply.
    pub fn close_after_reply(&self) {
        self.script(|faults| faults.output.close_after = CloseAfter::EachReply);
    }

    /// From now on every reply is replaced by bytes that are no RESP. The commands are executed.
    pub fn garbage(&self) {
        self.script(|faults| faults.output.content = Content::Garbage);
    }

    /// From now on replies are sent one byte at a time with this pause after each. `None` ends it, also for a reply
    /// that is under way.
    pub fn drip(&self, interval: Option<Duration>) {
        self.script(|faults| faults.output.drip = interval);
    }

    /// From now on at most this many connections are open at a time; more are told so and closed. Those that are open
    /// stay. `None`: no limit.
    pub fn max_clients(&self, most: Option<usize>) {
        self.script(|faults| faults.max_clients = most);
    }

    fn script(&self, script: impl FnOnce(&mut Faults)) {
        self.change(|state| script(&mut state.faults));
    }
}

/// # Life and credentials
impl FakeServer {
    /// Closes all connections, as `CLIENT KILL` does. New ones are accepted.
    pub fn kill_connections(&self) {
        self.change(|state| state.end_connections(End::Close));
    }

    /// Goes down: all connections are reset, with what is in their buffers, and new ones refused, until
    /// [`restart`](Self::restart). The data stays; see [`lose_data`](Self::lose_data).
    ///
    /// Over TCP the listener's task does the refusing; [`FakeListener::wait_until_closed`](super::FakeListener::wait_until_closed)
    /// says when it does.
    pub fn crash(&self) {
        self.change(|state| {
            state.power = Power::Off;
            state.end_connections(End::Reset);
        });
    }

    /// Comes up again, awake and idle; other scripted faults stay, and so does the role. A replica gets a new copy of its
    /// primary's data.
    ///
    /// Over TCP, [`FakeListener::wait_until_open`](super::FakeListener::wait_until_open) says when connections are
    /// accepted.
    pub fn restart(&self) {
        let is_replica = {
            let mut state = self.inner.lock();
            state.power = Power::On;
            state.run += 1;
            state.faults.attention = Attention::Awake;
            state.faults.busy_until = None;
            matches!(state.role, Role::Replica(_))
        };
        if is_replica {
            self.rejoin();
        }
        self.inner.changed.raise();
    }

    /// Whether it accepts connections.
    pub fn is_up(&self) -> bool {
        self.inner.lock().power == Power::On
    }

    /// Forgets all data, as a restart without persistence does.
    pub fn lose_data(&self) {
        self.change(|state| state.store = Default::default());
    }

    /// Sets the password of the default user; `None` lets everybody in. As in Redis, connections that are
    /// authenticated, or were made while there was no password, stay so: [`kill_connections`](Self::kill_connections) ends
    /// them.
    pub fn require_password(&self, password: Option<&str>) {
        self.change(|state| state.access.password = password.map(|text| text.as_bytes().to_vec()));
    }

    /// Adds a user, or changes the password of one.
    pub fn add_user(&self, name: &str, password: &str) {
        let (name, password) = (name.as_bytes().to_vec(), password.as_bytes().to_vec());
        self.change(|state| drop(state.access.users.insert(name, password)));
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.inner.lock());
        self.inner.changed.raise();
    }
}

impl State {
    fn end_connections(&mut self, end: End) {
        self.life.number += 1;
        self.life.last_end = end;
    }
}

fn names(commands: &[&str]) -> BTreeSet<String> {
    commands.iter().map(|name| name.to_uppercase()).collect()
}
