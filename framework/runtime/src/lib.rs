//! One task attempt: tasklets, chains, input gates and the exchange.
