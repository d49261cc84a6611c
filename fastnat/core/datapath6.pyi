# datapath.pyx compiled once more over addresses of 128 bits, see setup.py
from .datapath import Datapath as Datapath
