//! What the tour claims, and whether it held.

use crate::show::{self, Colour, paint};

#[derive(Default)]
pub(crate) struct Promises {
    checked: Vec<Promise>,
}

struct Promise {
    claim: String,
    measured: String,
    held: bool,
}

impl Promises {
    /// Notes a claim, what was measured, and whether that is what was claimed.
    pub(crate) fn check(
        &mut self,
        claim: impl Into<String>,
        measured: impl Into<String>,
        held: bool,
    ) {
        self.checked.push(Promise { claim: claim.into(), measured: measured.into(), held });
    }

    /// Prints the list; whether all held.
    pub(crate) fn print(&self) -> bool {
        show::heading("What was checked", "Does the cache keep its promises?");
        let claims = self.checked.iter().map(|promise| promise.claim.chars().count());
        let width = claims.max().unwrap_or(0);
        self.checked.iter().for_each(|promise| promise.print(width));
        let broken = self.checked.iter().filter(|promise| !promise.held).count();
        match broken {
            0 => println!("\nAll {} promises held.", self.checked.len()),
            _ => println!("\n{broken} of {} promises did not hold: see ✗.", self.checked.len()),
        }
        broken == 0
    }
}

impl Promise {
    fn print(&self, width: usize) {
        let Self { claim, measured, held } = self;
        let (colour, tick) = if *held { (Colour::Green, "✓") } else { (Colour::Red, "✗") };
        let line = format!("  {} {claim:<width$}  {measured}", paint(colour, tick));
        println!("{}", line.trim_end());
    }
}
