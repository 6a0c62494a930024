"""A policy gradient: a cart learns to balance its pole, by REINFORCE with a baseline.

Each step of an episode is an example with its action as the class and its advantage as the weight, which may be
negative. With reduction="sum" the cost is -Σ A log π(a|s), whose descent makes good actions more likely (Williams,
Machine Learning 1992). The cart is that of Barto, Sutton and Anderson (IEEE SMC 1983), with a reward
of 1 for each step.

    python examples/reinforce.py
"""

import numpy as np

import fastbp

EPISODES, STEPS, DISCOUNT = 24, 200, 0.99
SCALE = np.array([2.4, 2.0, 0.2, 2.0])  # of a state, as the networks see it
GRAVITY, CART, POLE, HALF_LENGTH, FORCE, SECONDS = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02


def next_states(states, actions):
    """The states (n, 4) of carts 0.02 seconds after a push to the left (0) or right (1): x, x', angle, angle'."""
    _, dx, angle, turning = states.T
    push = np.where(actions == 1, FORCE, -FORCE)
    sin, cos = np.sin(angle), np.cos(angle)
    common = (push + POLE * HALF_LENGTH * turning**2 * sin) / (CART + POLE)
    spin = (GRAVITY * sin - cos * common) / (HALF_LENGTH * (4 / 3 - POLE * cos**2 / (CART + POLE)))
    acceleration = common - POLE * HALF_LENGTH * spin * cos / (CART + POLE)
    return states + SECONDS * np.stack([dx, acceleration, turning, spin], axis=1)


def fallen(states):
    """Off the track, or the pole 12 degrees out of the vertical."""
    return (abs(states[:, 0]) > 2.4) | (abs(states[:, 2]) > np.radians(12))


def play(policy, rng):
    """Parallel episodes: scaled states (n, 4), actions (n,), discounted returns (n,), and the length of each."""
    states, alive = rng.uniform(-0.05, 0.05, (EPISODES, 4)), np.ones(EPISODES, bool)
    states_seen, actions_taken, living = [], [], []
    for _ in range(STEPS):
        right = policy.predict(states / SCALE)[:, 1]
        actions = (rng.random(EPISODES) < right).astype(int)
        for record, value in ((states_seen, states / SCALE), (actions_taken, actions), (living, alive)):
            record.append(value)
        states = next_states(states, actions)
        alive = alive & ~fallen(states)
        if not alive.any():
            break
    living = np.array(living)
    returns, following = np.zeros(living.shape), np.zeros(EPISODES)
    for t in reversed(range(len(living))):
        following = returns[t] = living[t] * (1 + DISCOUNT * following)
    return np.array(states_seen)[living], np.array(actions_taken)[living], returns[living], living.sum(axis=0)


def learn(seed=0, most=150):
    """Play and learn until episodes last; returns their mean length in each round."""
    rng, lengths = np.random.default_rng(seed), []
    policy = fastbp.Model((4, 32, 2), hidden="tanh", output="softmax", reduction="sum", seed=seed)
    baseline = fastbp.Model((4, 32, 1), hidden="tanh", seed=seed)
    while len(lengths) < most and (not lengths or lengths[-1] < 195):
        states, actions, returns, length = play(policy, rng)
        lengths.append(length.mean())
        returns /= 100
        advantages = returns - baseline.predict(states)[:, 0]
        weights = (advantages - advantages.mean()) / (advantages.std() + 1e-8) / len(states)
        policy.step(states, actions, sample_weight=weights, optimizer=fastbp.Adam(0.02))
        for _ in range(5):
            baseline.step(states, returns, optimizer=fastbp.Adam(0.01))
    return lengths


def main():
    lengths = learn()
    for round_, length in enumerate(lengths):
        if round_ % 5 == 0 or length == lengths[-1]:
            print(f"round {round_:3}: the pole stays up for {length:5.1f} of {STEPS} steps")
    assert lengths[0] < 60
    assert lengths[-1] >= 195


if __name__ == "__main__":
    main()
