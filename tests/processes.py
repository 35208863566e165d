from common.processes import on_processes

__all__ = ["on_processes"]
