//! What a newer commit does to a sync that is under way.

use crate::api::Supersede;
use crate::model::Hash64;

/// A sync that is under way, or waits to be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// What it brings.
    pub target: Hash64,
    /// Whether it waits at a gate.
    pub waiting: bool,
    /// Whether a hook of it runs.
    pub hook_running: bool,
    /// Whether its last attempt failed and another one of the same operation ([`super::is_within_limit`]) is due later.
    pub retry_pending: bool,
}

/// When a newer target takes the place of the one under way. To be asked again whenever that one moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takeover {
    /// It is the one under way.
    Unneeded,
    /// Now.
    Now,
    /// When the one under way waits at a gate, with no hook running.
    AtGate,
    /// When its attempt has ended.
    AfterAttempt,
    /// When its operation has ended, retries included.
    AfterOperation,
}

/// When a newer target takes the place of the one under way. A hook that runs is never cut; a gate that is waited at is.
/// `retry.refresh: true` takes the newest target at each attempt, whatever the policy.
pub fn supersede(policy: Supersede, refresh: bool, running: Option<&Running>, newer: Hash64) -> Takeover {
    let Some(Running { target, waiting, hook_running, retry_pending }) = running else { return Takeover::Now };
    if *target == newer {
        return Takeover::Unneeded;
    }
    match policy {
        Supersede::Never if !refresh => Takeover::AfterOperation,
        Supersede::Always | Supersede::BetweenAttempts | Supersede::Never if *retry_pending => Takeover::Now,
        Supersede::Always if *waiting && !*hook_running => Takeover::Now,
        Supersede::Always => Takeover::AtGate,
        Supersede::BetweenAttempts | Supersede::Never => Takeover::AfterAttempt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiting_gate_is_cut_a_running_hook_is_not_and_the_policy_says_the_rest() {
        let running =
            |waiting, hook_running, retry_pending| Running { target: Hash64(1), waiting, hook_running, retry_pending };
        let at_gate = running(true, false, false);
        let in_hook = running(true, true, false);
        let applying = running(false, false, false);
        let between = running(false, false, true);
        let cases = [
            (Supersede::Always, false, [Takeover::Now, Takeover::AtGate, Takeover::AtGate, Takeover::Now]),
            (
                Supersede::BetweenAttempts,
                false,
                [Takeover::AfterAttempt, Takeover::AfterAttempt, Takeover::AfterAttempt, Takeover::Now],
            ),
            (Supersede::Never, false, [Takeover::AfterOperation; 4]),
            (
                Supersede::Never,
                true,
                [Takeover::AfterAttempt, Takeover::AfterAttempt, Takeover::AfterAttempt, Takeover::Now],
            ),
        ];
        for (policy, refresh, expected) in cases {
            let found = [at_gate, in_hook, applying, between]
                .map(|running| supersede(policy, refresh, Some(&running), Hash64(2)));
            assert_eq!(found, expected, "{policy:?}, refresh {refresh}");
            assert_eq!(supersede(policy, refresh, Some(&at_gate), Hash64(1)), Takeover::Unneeded);
            assert_eq!(supersede(policy, refresh, None, Hash64(2)), Takeover::Now);
        }
    }
}
