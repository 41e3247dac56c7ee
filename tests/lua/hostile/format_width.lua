-- expect: conversion
-- Width of ten digits.
return string.format("%1000000000d", 1)
