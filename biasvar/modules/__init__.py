"""Modules that change what goes through a network, for networks of one's own as for those of a study."""

from biasvar.modules.infodrop import InfoDrop
from biasvar.modules.insertion import infodrops_in, insert_infodrop

__all__ = ["InfoDrop", "infodrops_in", "insert_infodrop"]
