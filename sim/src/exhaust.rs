//! Every schedule of a few clients up to a depth: the real machines, codecs and endpoints, with each
//! possible next step taken once.
//!
//! A schedule is a list of decisions: which possible step comes next, and which receiver the server
//! chooses. The search is depth first. Each run starts from the beginning, so no state is copied.
//! Possible steps are a client's command, the first segment of a direction of a connection, and up to
//! [`Scope::disturbances`] resets, crashes and early deadlines. Beyond the depth the run continues in a
//! fixed order. It must end with everything acknowledged and at zero.
//!
//! Two schedules that give each machine the same events in the same order end in the same state,
//! whatever the order of independent steps of different hosts. What follows such a state is run once,
//! and counted once per way to reach it. States are compared by a hash of 128 bits.

mod hash;
mod steered;
mod wire;
mod world;

use std::cell::RefCell;
use std::rc::Rc;

use echosphere_core::echo::Message;
use echosphere_core::{Action, Event};
use hashbrown::HashTable;

use self::hash::stir;
use self::world::World;
use crate::panics::caught;

/// One event and the actions of the server.
pub type ServerStep<'a> = (
    &'a Event<Message, std::convert::Infallible>,
    &'a [Action<Message, std::convert::Infallible>],
);
/// One more rule than the oracle has.
pub type ServerRule = fn(ServerStep<'_>) -> Result<(), String>;

/// What is gone through.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// How many clients, at least 1.
    pub clients: usize,
    /// After how many steps no more is decided.
    pub depth: usize,
    /// How many resets, crashes and early deadlines there may be in one schedule.
    pub disturbances: u32,
    /// Whether all clients send the same X.
    pub same_x: bool,
    /// Whether what follows a state that was seen before is only counted.
    pub merge: bool,
    /// A rule to be checked besides the oracle's.
    pub also: Option<ServerRule>,
}

impl Scope {
    /// The scope of `clients` clients to this depth, with one disturbance.
    #[must_use]
    pub const fn new(clients: usize, depth: usize) -> Self {
        Self {
            clients,
            depth,
            disturbances: 1,
            same_x: false,
            merge: true,
            also: None,
        }
    }
}

/// The result of a search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Explored {
    /// How many schedules there are.
    pub schedules: u128,
    /// How many runs that took, each from the start.
    pub runs: u64,
    /// Different states in which there was something to decide.
    pub states: u64,
    /// Steps of all runs.
    pub steps: u64,
    /// The most steps of one run, its fixed end included.
    pub longest: usize,
}

/// A schedule that broke a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedSchedule {
    /// The rule.
    pub rule: String,
    /// The decisions that lead there, for [`replay`].
    pub decisions: Vec<usize>,
    /// What happened, in words.
    pub steps: Vec<String>,
}

/// Goes through all schedules. `progress` is called after each run.
///
/// # Errors
///
/// The first schedule that breaks a rule.
pub fn explore(scope: &Scope, mut progress: impl FnMut(&Explored)) -> Result<Explored, Box<FailedSchedule>> {
    let search = Rc::new(RefCell::new(Search::default()));
    let mut explored = Explored::default();
    loop {
        let (end, world) = run(scope, &search);
        explored.runs += 1;
        explored.steps += world.steps as u64;
        explored.longest = explored.longest.max(world.steps);
        let search = &mut *search.borrow_mut();
        explored.states = search.seen.len() as u64;
        let schedules = match end {
            Ok(End::AtZero) => 1,
            Ok(End::Seen(schedules)) => schedules,
            Err(rule) => return Err(search.broken(rule)),
        };
        let next = search.next(schedules);
        progress(&explored);
        if !next {
            explored.schedules = search.total;
            return Ok(explored);
        }
    }
}

/// Goes through one schedule again and returns what happened, in words. Decisions that are missing are the first ones.
///
/// # Errors
///
/// Why these decisions cannot be made; within, the rule that it breaks.
pub fn replay(scope: &Scope, decisions: &[usize]) -> Result<Result<Vec<String>, Box<FailedSchedule>>, String> {
    let mut search = Search {
        words: Some(Vec::new()),
        ..Search::default()
    };
    search.stack.extend(decisions.iter().map(|&choice| Decision {
        choice,
        among: usize::MAX,
        ..Decision::default()
    }));
    let search = Rc::new(RefCell::new(search));
    let (end, _) = run(scope, &search);
    let mut search = search.borrow_mut();
    if let Some(wrong) = search.wrong.take() {
        return Err(wrong);
    }
    if search.made < decisions.len() {
        let (made, given) = (search.made, decisions.len());
        return Err(format!("{given} decisions are given, and only {made} are to be made"));
    }
    Ok(match end {
        Ok(_) => Ok(search.words.take().unwrap_or_default()),
        Err(rule) => Err(search.broken(rule)),
    })
}

fn run(scope: &Scope, search: &Rc<RefCell<Search>>) -> (Result<End, String>, World) {
    search.borrow_mut().restart();
    let mut world = World::new(*scope, Rc::clone(search));
    let end = caught(|| world.through());
    (end, world)
}

/// How a run ended that broke no rule.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Everything was acknowledged, and everybody was at zero.
    AtZero,
    /// What follows was run before; the number of ways to continue.
    Seen(u128),
}

/// Where the search is.
#[derive(Debug, Default)]
struct Search {
    /// The decisions of this run, or at first those of the run before up to the one that is now another.
    stack: Vec<Decision>,
    /// How many of them have been made.
    made: usize,
    /// States whose continuations have all been run, with their number.
    seen: HashTable<(u128, u128)>,
    total: u128,
    /// A hash of all that the server chose in this run.
    drawn: u128,
    /// Nothing is decided any more: choices are made in turn.
    in_turn: Option<usize>,
    /// The steps in words, if they are recorded.
    words: Option<Vec<String>>,
    /// Why the decisions that were given cannot be made.
    wrong: Option<String>,
}

#[derive(Debug, Default)]
struct Decision {
    choice: usize,
    among: usize,
    /// The state in which it is made, if that is known.
    state: Option<u128>,
    /// Schedules that have been gone through from here on.
    schedules: u128,
}

impl Search {
    fn restart(&mut self) {
        self.made = 0;
        self.drawn = 0;
        self.in_turn = None;
    }

    /// One of `among` choices. `Err` holds the number of ways that lead on from `state`, where that is known.
    fn choose(&mut self, among: usize, state: Option<u128>) -> Result<usize, u128> {
        if among <= 1 {
            return Ok(0);
        }
        if let Some(turn) = &mut self.in_turn {
            *turn += 1;
            return Ok(*turn % among);
        }
        if let Some(decision) = self.stack.get(self.made) {
            self.made += 1;
            let choice = decision.choice;
            if choice >= among {
                let place = self.made;
                let wrong = || format!("decision {place} is {choice}, and there are {among} to choose from, from 0 on");
                self.wrong.get_or_insert_with(wrong);
            }
            return Ok(choice.min(among - 1));
        }
        if let Some(state) = state
            && let Some((_, schedules)) = self.seen.find(state as u64, |(seen, _)| *seen == state)
        {
            return Err(*schedules);
        }
        self.made += 1;
        self.stack.push(Decision {
            among,
            state,
            ..Decision::default()
        });
        Ok(0)
    }

    /// The receiver that the server chooses of `among`.
    fn draw(&mut self, among: usize) -> usize {
        // No state is known in the middle of a step, so that there always is a choice.
        let choice = self.choose(among, None).unwrap_or(0);
        self.drawn = stir(self.drawn, choice as u64);
        choice
    }

    /// Counts the run and moves to the next decision. `false` once there is none left.
    fn next(&mut self, mut schedules: u128) -> bool {
        while let Some(last) = self.stack.last_mut() {
            last.schedules += schedules;
            last.choice += 1;
            if last.choice < last.among {
                return true;
            }
            schedules = last.schedules;
            if let Some(state) = last.state {
                self.seen
                    .insert_unique(state as u64, (state, schedules), |(state, _)| *state as u64);
            }
            self.stack.pop();
        }
        self.total = schedules;
        false
    }

    fn say(&mut self, words: impl FnOnce() -> String) {
        if let Some(all) = &mut self.words {
            all.push(words());
        }
    }

    fn broken(&mut self, rule: String) -> Box<FailedSchedule> {
        let decisions = self.stack[..self.made].iter().map(|decision| decision.choice);
        Box::new(FailedSchedule {
            rule,
            decisions: decisions.collect(),
            steps: self.words.take().unwrap_or_default(),
        })
    }
}
