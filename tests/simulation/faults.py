"""Things that go wrong: each function makes one fault happen now, if it can."""

from typing import TYPE_CHECKING

from coordination.protocol.states import Declared

from .bus import Task
from .databases import Tx

if TYPE_CHECKING:
    from .world import World


def crash_node(world: "World") -> None:
    """SIGKILL of a node; it is started again after a while."""
    nodes = [n for n in world.nodes if n.alive]
    if nodes:
        node = world.pick(nodes)
        node.crash()
        world.after(world.uniform(0.1, 8), None, "node starts", world.start_node)


def pause_manager(world: "World") -> None:
    """SIGSTOP of a node past its lease; it goes on later, and does not know."""
    managers = [m for m in world.all_managers if m.alive and not m.paused]
    if managers:
        manager = world.pick(managers)
        manager.paused = True
        if world.journal.holder is manager:
            world.journal.holder = None
        world.after(world.uniform(0.1, 20), None, "goes on", manager.resume_from_pause)


def steal_lease(world: "World") -> None:
    """A lease runs out (a slow database, a wrong clock) while its manager is well; another node claims."""
    holder = world.journal.holder
    if holder is None or world.journal.ended:
        return
    world.journal.holder = None
    for manager in world.all_managers:
        if manager is holder:
            world.after(3.0, manager, "lease", manager.look_at_lease)
    others = [n for n in world.nodes if n.alive and n is not getattr(holder, "node", None)]
    if others:
        world.pick(others).claim()


def crash_worker(world: "World") -> None:
    """SIGKILL of a worker process; another one is started in its place."""
    workers = world.living_workers()
    if workers:
        world.pick(workers).crash()
        world.after(world.uniform(0.1, 8), None, "worker starts", world.start_worker)


def deliver_task_again(world: "World") -> None:
    """The broker lost sight of a worker's Celery connection: a task that still runs there is delivered again."""
    running = [task for worker in world.living_workers() for tasks in worker.running.values() for task in tasks]
    if running:
        task = world.pick(running)
        world.bus.send_task(Task(task.branch, retries=task.retries, again=True))


def delete_queue(world: "World") -> None:
    """Somebody deletes the batch's queue under its consumers."""
    if world.bus.queue is not None:
        world.bus.delete_queue()


def wipe_broker(world: "World") -> None:
    """The broker comes back with nothing: no queue, no mailbox, no task."""
    world.wipes += 1
    world.bus.wipe()
    for worker in world.living_workers():
        world.op(worker, "bind", worker.bind_again)


def delete_mailbox(world: "World") -> None:
    """A mailbox goes; until its process notices it seems gone."""
    workers = world.living_workers()
    if workers:
        worker = world.pick(workers)
        world.bus.mailboxes.pop(worker.name, None)
        world.op(worker, "bind", worker.bind_again)


def rollback_by_hand(world: "World") -> None:
    """A DBA rolls a prepared transaction back."""
    prepared = list(world.databases.prepared.values())
    if prepared:
        world.databases.lose(world.pick(prepared))


def lose_held(world: "World") -> None:
    """A held connection dies; its process may find out."""
    parked = [tx for tx in world.databases.all.values() if tx.parked and tx.status is Tx.OPEN]
    if parked:
        tx = world.pick(parked)
        world.databases.lose(tx)
        worker = world.workers[tx.holder]
        if worker.alive:
            world.op(worker, "connection lost", worker.connection_lost, tx.gid)


def prune(world: "World") -> None:
    """Rows of a batch that is over and cleaned up are deleted.

    Not while a node that knew the batch is paused or about to answer for it: if it declared the queue after that and
    were killed, nothing would remember to delete it. So pruning must wait longer than any pause lasts.
    """
    knows = any(m.alive for m in world.all_managers) or any(n.answering or n.claiming for n in world.nodes)
    # A batch of which a task was declared keeps its rows: the database may come back with the task still prepared.
    if world.journal.ended and world.journal.queue_deleted and not knows and not world.journal.declarations:
        world.journal.pruned = True


def cancel(world: "World") -> None:
    """An operator asks for the end of it."""
    if 1 not in world.journal.requests and not world.journal.ended:
        world.journal.requests[1] = None


def declare(world: "World") -> None:
    """An approver declares what became of some tasks; they may be wrong, and the database may come back."""
    journal = world.journal
    number = len(journal.declarations) + 2
    if not journal.ended and not journal.pruned and number < 5:
        tasks = [n for n in journal.rows if world.roll() < 0.7]
        journal.declarations[number] = tuple(tasks), world.pick(list(Declared))
        journal.requests[number] = None


def late_task(world: "World") -> None:
    """A Celery message of the batch turns up late: after the decision, after the end, after pruning."""
    if world.bus.ever_sent:
        world.bus.send_task(Task(world.pick(sorted(world.bus.ever_sent)), again=True))
