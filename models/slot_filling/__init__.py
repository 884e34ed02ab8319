"""Joint slot filling and intent detection: the four systems of the SNIPS table, which tag product data as well.

RNN-LSTM (Hakkani-Tür et al., 2016), Attn-BiRNN (Liu and Lane, 2016), Slot-Gated (Goo et al., 2018) and Joint-BERT
(Chen et al., 2019). `labels` is what all four predict, `words` what the three without BERT share. Taggers that know no
intent do not belong here; the data are read by `avebench.datasets.slots`.
"""
