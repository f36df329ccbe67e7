"""Work on files too large for one process, on a Ray cluster: the input is divided into shards, Ray
Data hands them to actors, each of which holds a model, and every shard becomes one file of results.

source, urls, lines, parquet  the files of the input, and how they are read
shards      the input as shards, and the rows of one
job         what is done with the rows, which annotators and judges define
code        a hash of the code that shapes the results
run         a run: the shards that have no results yet are worked on
connection  Ray, started or joined
pool        the actors of a run, and what they are handed
actors      what an actor does with a shard
shared      one process that asks servers and stores answers for all actors
parts       the folder of results: a file for each shard, and a manifest
formats     the records in the files of results
"""
