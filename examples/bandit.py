"""
A bandit: REINFORCE through softmax
===================================

A softmax need not end in a loss with labels. Here it is a *policy*: the probabilities of pulling each arm of
a slot machine. The only feedback is the reward of the pulled arm. No library has this loss built in, but its
gradient goes back through :func:`fastsm.softmax_vjp` or :func:`fastsm.log_softmax_vjp` like any other.
"""

# %%
# The gradient with known payoffs
# -------------------------------
# There are ten arms, with preferences :math:`h` and the policy :math:`\pi = \operatorname{softmax}(h)`. If
# arm :math:`a` pays :math:`q_a` on average, the policy earns :math:`J = \sum_a \pi_a q_a`. So :math:`\partial
# J / \partial \pi = q`, and the gradient over the preferences is the vector-Jacobian product with :math:`q`,
# one line:

import matplotlib.pyplot as plt
import numpy as np

import fastsm
from fastsm import data, nn, optim, testing

ARMS = 10
rng = np.random.default_rng(0)
h, q = rng.standard_normal((2, ARMS))
pi = fastsm.softmax(h)
exact = fastsm.softmax_vjp(pi, q)

assert np.allclose(exact, pi * (q - pi @ q))

# %%
# The gradient from one pull
# --------------------------
# But :math:`q` is unknown. REINFORCE (R. J. Williams, 1992) pulls an arm :math:`a`, gets the reward
# :math:`R`, and treats :math:`-(R - b) \log \pi_a` as if it were a loss. Its gradient over the log-policy is
# zero except at :math:`a`; :func:`fastsm.log_softmax_vjp` takes it to the preferences. The baseline :math:`b`
# is any number that does not depend on :math:`a`.


def reinforce(log_pi, arm, advantage):
    """Return the gradient over the preferences of ``-advantage * log_pi[arm]``, row by row."""
    d_log_pi = np.zeros_like(log_pi)
    np.put_along_axis(d_log_pi, arm[:, None], -advantage[:, None], axis=1)
    return fastsm.log_softmax_vjp(log_pi, d_log_pi)


# %%
# Its mean over the policy is the exact gradient (negated, as a loss is minimised) for any baseline. Here is
# the mean over all ten arms, each with its probability:

log_pi = np.tile(fastsm.log_softmax(h), (ARMS, 1))
for baseline in (0.0, 3.0):
    each_arm = reinforce(log_pi, np.arange(ARMS), q - baseline)
    assert np.allclose(pi @ each_arm, -exact)

# %%
# R. S. Sutton and A. G. Barto (*Reinforcement Learning*, 2nd edition, 2018, section 2.8) write the same
# update out: :math:`h \leftarrow h + \alpha (R - b)(\mathbf{1}_a - \pi)`. Going through the policy instead of
# its logarithm gives the same result, but needs a division:

assert np.allclose(each_arm, -(q - baseline)[:, None] * (np.eye(ARMS) - pi))
assert np.allclose(each_arm, fastsm.softmax_vjp(np.exp(log_pi), -np.diag(q - baseline) / np.exp(log_pi)))

# %%
# A thousand pulls
# ----------------
# This is the experiment of that section: the arms pay about :math:`q_a`, drawn from a normal distribution
# around 4. The baseline is the mean of the rewards so far, or 0. Five hundred machines run at once, one per
# row, so a curve is a mean over 500 seeds; its band has two standard errors on each side.

MACHINES, PULLS, RATE = 500, 1000, 0.1


def pull(log_pi, rng):
    """Return an arm for each row, with the probabilities of the policy."""
    ends = np.exp(log_pi).cumsum(axis=1)
    return (ends < ends[:, -1:] * rng.random((len(log_pi), 1))).sum(axis=1)


def play(with_baseline):
    """Return which pulls were of the best arm, shape (PULLS, MACHINES)."""
    rng = np.random.default_rng(0)
    pays = 4 + rng.standard_normal((MACHINES, ARMS))
    preferences, mean_reward = np.zeros((MACHINES, ARMS)), np.zeros(MACHINES)
    best = np.empty((PULLS, MACHINES), dtype=bool)
    for t in range(PULLS):
        log_pi = fastsm.log_softmax(preferences)
        arm = pull(log_pi, rng)
        reward = pays[np.arange(MACHINES), arm] + rng.standard_normal(MACHINES)
        preferences -= RATE * reinforce(log_pi, arm, reward - with_baseline * mean_reward)
        mean_reward += (reward - mean_reward) / (t + 1)
        best[t] = arm == pays.argmax(axis=1)
    return best


figure, axis = plt.subplots()
share = {}
for name, with_baseline in (("baseline: the mean reward so far", True), ("no baseline", False)):
    best = play(with_baseline)
    share[with_baseline] = best[-100:].mean()
    curve, error = best.mean(axis=1), best.std(axis=1) / np.sqrt(MACHINES)
    axis.plot(curve, label=name)
    axis.fill_between(np.arange(PULLS), curve - 2 * error, curve + 2 * error, alpha=0.2)
axis.set_ylim(0, 1)
axis.set_xlabel("pull")
axis.set_ylabel("part of machines that pull the best arm")
axis.legend()
print(f"best arm in the last 100 pulls: {share[True]:.0%} with the baseline, {share[False]:.0%} without")
assert share[True] > 0.8 > 0.5 > share[False]

# %%
# The expected gradient is the same; its noise is not. Without a baseline every arm is rewarded by about 4, so
# the arms tried first gain first, and more than half of the machines end on a wrong one.
#
# A network as a policy
# ---------------------
# Now the policy sees an image of a digit. It names a digit, and learns whether that was right (1) or wrong
# (0), never the right answer. As a custom loss this takes two lines. The targets are rows: the advantage at
# the pulled arm, 0 elsewhere.


@nn.loss(on="log_probs")
def policy_loss(log_pi, advantages):
    """Return the loss of each row, and its gradient over the log-probabilities."""
    return -(advantages * log_pi).sum(axis=1), -advantages


tiny = nn.MLP([5, 8, 3], activation="tanh", head="log_softmax", rng=0)
x, advantages = rng.standard_normal((4, 5)), np.array([[0.7, 0, 0], [0, 0, -0.2], [0, 1, 0], [0, -1, 0]])
print(testing.check_grads(tiny, x, advantages, loss=policy_loss))

# %%
# The usual loop: act, get the reward, step. The advantage is a function of reward and policy.

splits = data.load("digits")
EPOCHS, BATCH_SIZE, SEEDS = 30, 32, 3


def learn(advantage, seed):
    """Return the part of right answers in each epoch, and the answers to the test images."""
    rng = np.random.default_rng(seed)
    policy = nn.MLP([64, 64, 10], head="log_softmax", rng=seed)
    optimizer = optim.Adam(3e-3)
    curve = []
    for _ in range(EPOCHS):
        rewards = []
        for rows in np.array_split(rng.permutation(len(splits.train)), len(splits.train) // BATCH_SIZE):
            images, labels = splits.train.X[rows], splits.train.y[rows]
            log_pi = policy(images)
            answers = pull(log_pi, rng)
            reward = (answers == labels).astype(np.float32)
            pi_of_answer = np.exp(log_pi[np.arange(len(rows)), answers])
            targets = np.zeros_like(log_pi)
            targets[np.arange(len(rows)), answers] = advantage(reward, pi_of_answer)
            nn.value_and_grad(policy, policy_loss, images, targets)
            optimizer.step(policy.params, policy.grads)
            rewards.append(reward)
        curve.append(np.concatenate(rewards).mean())
    return curve, policy(splits.test.X).argmax(axis=1)


# %%
# With a constant baseline it learns most digits and then stops: a digit that it no longer names is never
# rewarded again. So subtract the answer's own probability: with :math:`R - \pi_a` confident answers must be
# right to gain, and rare answers cost little. The mean over :math:`a` is
#
# .. math:: \sum_a \pi_a (R_a - \pi_a) \nabla \log \pi_a = -\tfrac{1}{2} \nabla \sum_a (R_a - \pi_a)^2 ,
#
# the exact gradient of the squared error of the probabilities, from one bit of feedback:

right = np.eye(ARMS)[3]
praise = reinforce(log_pi, np.arange(ARMS), right - pi)
assert np.allclose(pi @ praise, fastsm.softmax_vjp(pi, pi - right))

figure, axis = plt.subplots()
tested, named = {}, {}
choices = {
    "reward less its own probability": lambda reward, pi: reward - pi,
    "reward less 0.1": lambda reward, pi: reward - 0.1,
}
for name, advantage in choices.items():
    curves, tests = zip(*(learn(advantage, seed) for seed in range(SEEDS)), strict=True)
    tested[name] = np.mean(tests == splits.test.y)
    named[name] = [len(np.unique(answers)) for answers in tests]
    axis.plot(range(1, EPOCHS + 1), np.mean(curves, axis=0), label=name)
    axis.fill_between(range(1, EPOCHS + 1), np.min(curves, axis=0), np.max(curves, axis=0), alpha=0.2)
    print(f"{name}: {tested[name]:.1%} of the test images right, digits named: {named[name]}")
axis.set_ylim(0, 1)
axis.set_xlabel("epoch")
axis.set_ylabel("part of answers that are right")
axis.legend()
assert tested["reward less its own probability"] > 0.95 > tested["reward less 0.1"]
assert named["reward less its own probability"] == [10] * SEEDS
assert min(named["reward less 0.1"]) < 10

# %%
# Lines are means over three seeds, bands range from minimum to maximum. On the test images the policy takes
# its most probable digit; the difference comes from digits that it never chooses.
#
# **Sources.** R. J. Williams, "Simple statistical gradient-following algorithms for connectionist
# reinforcement learning", *Machine Learning* 8, 1992. R. S. Sutton and A. G. Barto, *Reinforcement Learning:
# An Introduction*, 2nd edition, 2018, section 2.8.
